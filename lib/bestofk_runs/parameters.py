"""Which parameters does a notebook take, and are these ones right?

papermill accepts a misspelt ``-p`` name without a word and stores only what was
passed. So each notebook calls `resolve` right after its parameters cell: every
plain value in the notebook must be a known parameter, every value must have the
right type, and the resolved values (defaults included) are what is recorded.
"""

import difflib
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

PLAIN = (str, int, float, bool, list, tuple, dict, type(None))
# names that Jupyter itself puts into a notebook
JUPYTER = {"In", "Out"}

NAME, PART = r"^[A-Za-z0-9][A-Za-z0-9._-]*$", r"^\d+/\d+$"
Name = Annotated[str, Field(pattern=NAME)]
Part = Annotated[str, Field(pattern=PART)]
SAID = {
    NAME: "must begin with a letter or digit and hold only these, dots, dashes and underscores",
    PART: "must be i/n, such as 0/4",
}


def _made_of(annotation, kind):
    """True if `kind` is part of an annotation, as int is of ``list[int] | None``."""
    return annotation is kind or any(_made_of(part, kind) for part in get_args(annotation))


class Parameters(BaseModel):
    """Base of the notebooks' parameters."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True, frozen=True, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value_for_a_number(cls, value, info):
        kind = cls.model_fields[info.field_name].annotation
        true_or_false = any(isinstance(v, bool) for v in (value if isinstance(value, (list, tuple)) else [value]))
        if true_or_false and (_made_of(kind, int) or _made_of(kind, float)):
            raise PydanticCustomError("truth_value", "must be a number, not true or false")
        return value


class Generate(Parameters):
    """Parameters of ``generate.ipynb``; what they mean is said there."""

    run: Name = "demo"
    root: str = "gpu_runs/scratch"
    engine: Literal["transformers", "vllm"] = "transformers"
    model: str = "smollm2"
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    task: str = "boxes"
    limit: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] | None = 8
    examples: Annotated[int, Field(ge=0, le=4)] = 4
    chat: bool = False
    samples: Annotated[int, Field(ge=1)] = 16
    sampling_temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=1)] = 64
    stop: list[str] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    shard_size: Annotated[int, Field(ge=1)] = 4
    shard: Part = "0/1"
    publish_texts: bool | None = None
    engine_options: dict = {}
    trust_remote_code: bool = False
    progress: bool = True


def resolve(kind, namespace):
    """Check a notebook's variables and return them as `kind`.

    Parameters
    ----------
    kind : type
        Such as `Generate`.
    namespace : dict
        The notebook's ``globals()``, before anything but parameters was assigned.

    Raises
    ------
    ValueError
        Unknown name (the known ones are listed), or a value of the wrong type or range.
    """
    values = {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_") and name not in JUPYTER and isinstance(value, PLAIN)
    }
    known = kind.model_fields
    unknown = sorted(set(values) - set(known))
    if unknown:
        close = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ValueError(f"unknown parameter {', '.join(unknown)}{hint}; known are {', '.join(sorted(known))}")
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = first["loc"][0] if first["loc"] else "parameters"
        pattern = first.get("ctx", {}).get("pattern")
        message = SAID.get(pattern) or first["msg"][0].lower() + first["msg"][1:]
        raise ValueError(f"parameter {name} = {values.get(name)!r}: {message}") from None


def identity(settings, leave_out=("root", "shard", "progress", "publish_texts")):
    """The parameters that determine the result: all but where and how the work is done."""
    return {key: value for key, value in settings.model_dump().items() if key not in leave_out}
