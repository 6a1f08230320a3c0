"""Notebook parameters: misspelt names and wrong values are refused before anything happens."""

import pytest

pytest.importorskip("pydantic")

from bestofk_runs import parameters, reporting, shards  # noqa: E402


def resolve(**values):
    return parameters.resolve(parameters.Generate, {"In": [], "Out": {}, "_i1": "x", "get_ipython": print, **values})


def test_defaults_and_given_values_are_both_recorded():
    settings = resolve(samples=64, run="abc")
    recorded = settings.model_dump()
    assert (recorded["samples"], recorded["run"], recorded["sampling_temperature"]) == (64, "abc", 0.7)


def test_a_misspelt_name_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match=r"unknown parameter sample \(did you mean samples\?\); known are .*seed"
    ) as error:
        resolve(sample=64)
    for name in (
        "run",
        "root",
        "engine",
        "model",
        "task",
        "limit",
        "samples",
        "sampling_temperature",
        "max_tokens",
        "shard_size",
    ):
        assert name in str(error.value)


def test_papermill_strings_are_read():
    # papermill -p passes what is not a number, True, False or None as a string
    settings = resolve(progress="false", samples="8", run=7, top_p="0.9")
    assert (settings.progress, settings.samples, settings.run, settings.top_p) == (False, 8, "7", 0.9)
    assert resolve(limit=0.25).limit == 0.25 and type(resolve(limit=600).limit) is int is type(resolve(limit="600").limit)


@pytest.mark.parametrize(
    "name, value",
    [
        ("samples", 0), ("samples", 2.5), ("samples", "many"), ("limit", -1), ("limit", 1.5), ("sampling_temperature", -0.1),
        ("sampling_temperature", float("nan")), ("top_p", 0), ("top_p", 1.1), ("max_tokens", 0), ("engine", "llamacpp"),
        ("dtype", "int4"), ("shard", "1"), ("run", "../x"), ("run", ""), ("seed", -1),
        ("stop", "\n"), ("progress", "maybe"), ("samples", True), ("top_p", True), ("limit", False),
    ],
)  # fmt: skip
def test_wrong_values_name_the_parameter_and_the_value(name, value):
    with pytest.raises(ValueError) as error:
        resolve(**{name: value})
    assert str(error.value).startswith(f"parameter {name} = {value!r}: ") and "\n" not in str(error.value)


def test_a_truth_value_is_no_number_but_stays_one_where_it_is_wanted():
    with pytest.raises(ValueError, match="^parameter samples = True: must be a number, not true or false$"):
        resolve(samples=True)
    with pytest.raises(ValueError, match="parameter k_values = .2, True.: must be a number, not true or false"):
        parameters.resolve(reporting.Report, {"pool": "x", "k_values": [2, True]})
    assert resolve(chat=True).chat is True and resolve(publish_texts=False).publish_texts is False


@pytest.mark.parametrize("text", ["4/4", "-1/2", "a/b", "1/0", "1/2/3"])
def test_parts(text):
    assert shards.parse_part("0/1") == (0, 1) and shards.parse_part("3/4") == (3, 4)
    with pytest.raises(ValueError, match="i/n"):
        shards.parse_part(text)


def test_where_and_how_the_work_is_done_is_not_part_of_the_identity():
    base = parameters.identity(resolve())
    assert parameters.identity(resolve(root="/elsewhere", shard="1/2", progress=False)) == base
    for changed in ({"seed": 1}, {"samples": 17}, {"model": "x/y"}, {"sampling_temperature": 0.8}, {"task": "a.jsonl"}):
        assert parameters.identity(resolve(**changed)) != base
