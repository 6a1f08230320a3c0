"""JSONL files, plain or compressed, read a line at a time; a line that cannot be read is named."""

import json


def lines(path):
    """Yield (line number, object) of a JSONL file, plain or compressed."""
    for line, _, record in sized_lines(path):
        yield line, record


def sized_lines(path):
    """Yield (line number, characters, object)."""
    import io

    import pyarrow

    with pyarrow.input_stream(str(path)) as stream:
        line = 0
        try:
            for line, text in enumerate(io.TextIOWrapper(stream, encoding="utf-8"), 1):
                if not text.strip():
                    continue
                try:
                    record = json.loads(text)
                except ValueError:
                    raise ValueError(f"{path} line {line} is not JSON: {short(text.strip())}") from None
                if not isinstance(record, dict):
                    raise ValueError(f"{path} line {line} is not an object with named fields: {short(text.strip())}")
                yield line, len(text), record
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not UTF-8 text (after line {line})") from None
        except OSError as error:
            raise ValueError(f"{path} cannot be read after line {line}: {error}") from None


def field(record, path):
    """Value at a dotted path such as ``doc.answer`` or ``resps.0``; None if there is none."""
    if isinstance(record, dict) and path in record:
        return record[path]
    for step in path.split("."):
        try:
            record = record[int(step)] if isinstance(record, list) else record[step]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return record


def short(value, most=60):
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."
