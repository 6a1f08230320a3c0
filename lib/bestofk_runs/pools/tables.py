"""A CSV, TSV, JSONL or Parquet file, or a DataFrame, as rows: a row a sample, or a row a prompt with lists."""

import numpy as np

from .grouping import BUILT_IN, Raw, built_in
from .jsonl import short, sized_lines

ALIASES = {
    "prompt": ("prompt", "prompt_id", "question_id", "problem_id", "doc_id", "task_id", "question", "problem", "id"),
    "sample": ("sample", "sample_index", "sample_id", "sample_idx", "completion_id"),
    "loss": ("loss", "error"),
    "correct": ("correct", "is_correct", "passed", "exact_match"),
    "score": ("score", "reward", "judge_score"),
    "text": ("completion", "completions", "response", "responses", "generation"),
    "tokens": ("completion_tokens", "output_tokens", "n_tokens"),
}
PART = 200_000  # rows of a table held as Python objects at a time, and their characters or bytes:
TEXT = 2**22


def jsonl_parts(path):
    import pandas

    def parts(columns):
        start, rows, held = 0, [], 0
        for _, characters, record in sized_lines(path):
            rows.append(record if columns is None else {name: record[name] for name in columns if name in record})
            held += characters
            if len(rows) == PART or held > TEXT:
                yield start, pandas.DataFrame(rows, dtype=object)
                start, rows, held = start + len(rows), [], 0
        if rows:
            yield start, pandas.DataFrame(rows, dtype=object)

    return parts


def parquet_parts(path):
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except Exception as error:
        raise ValueError(f"{path} is not a readable parquet file: {short(str(error))}") from None

    def parts(columns):
        start = 0
        bytes_a_row = sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups)) / max(
            file.metadata.num_rows, 1
        )
        size = int(np.clip(TEXT / max(bytes_a_row, 1), 1, PART))
        for group in range(file.num_row_groups):  # together, pyarrow would hold several
            for batch in file.iter_batches(batch_size=size, columns=columns, row_groups=[group]):
                yield start, batch.to_pandas()
                start += batch.num_rows

    return file.schema_arrow.names, parts


def csv_parts(path):
    import pyarrow
    from pyarrow import csv

    try:
        with pyarrow.input_stream(str(path)) as stream:
            head = stream.read(2**16).decode("utf-8", errors="replace").lstrip("\ufeff").split("\n", 1)[0]
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not head.strip():
        raise ValueError(f"{path} holds no rows: its first line, which should name the columns, is empty")
    delimiter = max(",;\t|", key=head.count)
    options = {
        "read_options": csv.ReadOptions(block_size=TEXT),
        "parse_options": csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
    }
    import csv as reader

    names = next(reader.reader([head.rstrip("\r")], delimiter=delimiter))

    def parts(columns):
        start = 0
        try:
            convert = csv.ConvertOptions(
                include_columns=columns,
                column_types={name: pyarrow.string() for name in columns or names},
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            )
            with csv.open_csv(str(path), **options, convert_options=convert) as stream:
                for batch in stream:
                    yield start, batch.to_pandas()
                    start += batch.num_rows
        except pyarrow.ArrowInvalid as error:
            reason = short(str(error), 200)
            raise ValueError(f"{path} is not a readable table after data row {start}: {reason}") from None

    return names, parts


def read(name, parts, names, judge, columns):
    """Rows of a table as samples; `parts` yields (row before the first, frame), or makes that from columns."""
    import pandas

    use = _columns(name, names, judge, columns)
    compare = "sample" not in use  # whole rows: without numbers only they can show that a table was pasted twice
    wanted = [column for column in dict.fromkeys(use.values()) if column in names]
    frames = parts(None if compare else wanted) if callable(parts) else parts
    codes, kept, hashes = {}, {key: [] for key in ("code", "row", "loss", "reward", "sample", "text", "tokens")}, []
    for before, frame in frames:
        row = before + 1 + np.arange(len(frame))
        if compare:
            hashes.append(_row_hashes(frame))
        frame = frame[[column for column in wanted if column in frame.columns]].reindex(columns=wanted)
        frame, row, inner = _exploded(name, frame, row, use)
        prompt = frame[use["prompt"]]
        if prompt.isna().any():
            raise ValueError(f"{name} data row {row[prompt.isna().argmax()]}, column {use['prompt']}: no prompt")
        local, distinct = prompt.astype(str).factorize()
        known = np.array([codes.setdefault(value, len(codes)) for value in distinct], dtype=np.int64)
        kept["code"].append(known[local] if len(known) else np.empty(0, np.int64))
        kept["row"].append(row)
        kept["loss"].append(_losses(name, frame, row, use))
        if use["score"] in frame.columns:
            kept["reward"].append(_numbers(name, frame[use["score"]], row, use["score"], np.nan))
        if "text" in use:
            texts = frame[use["text"]].astype(str).to_numpy(dtype=object)
            kept["text"].append(pandas.util.hash_array(texts).view(np.int64))
        if "tokens" in use:
            kept["tokens"].append(_numbers(name, frame[use["tokens"]], row, use["tokens"], np.nan))
        if inner is not None:
            kept["sample"].append(inner)
        elif "sample" in use:
            kept["sample"].append(_whole(name, frame[use["sample"]], row, use["sample"]))
    if not kept["code"] or not sum(map(len, kept["code"])):
        raise ValueError(f"{name} holds no rows")
    kept = {key: np.concatenate(kept.pop(key)) if kept[key] else None for key in tuple(kept)}
    if kept["reward"] is None:
        kept["reward"] = built_in(use["score"], kept["loss"], None)
    plus = np.flatnonzero(np.isposinf(kept["reward"]))
    if len(plus):
        raise ValueError(f"{name} data row {kept['row'][plus[0]]}, column {use['score']}: inf is not a score")
    kept["reward"][np.isneginf(kept["reward"])] = np.nan
    notes = () if kept["sample"] is not None else ("no sample column: the rows of a prompt are its samples, in order",)
    notes += _pasted(hashes) if kept["sample"] is None else ()
    if "loss" in use and any(c in names for c in ALIASES["correct"]) and "loss" not in columns:
        notes += (f"there is a column {use['loss']} and one that says correct: {use['loss']} is used",)
    tokens = kept.pop("tokens")
    tokens = None if tokens is None or np.isnan(tokens).all() else float(np.nanmean(tokens))
    judged = 0.0 if use["score"] in BUILT_IN and use["score"] not in names else None
    return Raw(name, "a table", use["score"], list(codes), notes=notes, tokens=tokens, judge_tokens=judged, **kept)


def _row_hashes(frame):
    """One number a row that is the same only where every column is the same."""
    import pandas

    def plain(value):
        return repr(value.tolist() if isinstance(value, np.ndarray) else value)

    columns = (frame.iloc[:, i] for i in range(frame.shape[1]))
    texts = {i: c.map(plain) if c.dtype == object else c for i, c in enumerate(columns)}
    return pandas.util.hash_pandas_object(pandas.DataFrame(texts), index=False).to_numpy()


def _pasted(hashes):
    """A note on rows that say again what an earlier row of the same prompt says; equal samples are legitimate."""
    _, times = np.unique(np.concatenate(hashes), return_counts=True)
    rows, again = int(times.sum()), int((times - 1).sum())
    if not again:
        return ()
    every = int(np.gcd.reduce(times))
    hint = f", every row occurs {every} times or a multiple of that: was the table pasted twice?" if every > 1 else ""
    return (f"{again} of {rows} rows repeat an earlier row of the same prompt in every column: kept as samples{hint}",)


def _columns(name, names, judge, given):
    """Which column is what: as given, else by the usual names."""
    twice = [column for i, column in enumerate(names) if column in names[:i] and str(column).strip()]
    if twice:
        raise ValueError(f"{name} has two columns {twice[0]!r}: rename or drop one")
    unknown = [key for key in given if key not in ALIASES]
    if unknown:
        raise ValueError(f"columns must use the keys {', '.join(ALIASES)}, got {unknown[0]!r}")
    absent = [column for column in given.values() if column not in names]
    if absent:
        raise ValueError(f"{name} has no column {absent[0]!r}; its columns are {', '.join(map(str, names))}")
    use = {}
    for key, aliases in ALIASES.items():
        hits = [given[key]] if key in given else [alias for alias in aliases if alias in names]
        if hits:
            use[key] = hits[0]
        if key == "score" and len(hits) > 1 and judge is None:
            raise ValueError(f"judge must be said: {name} has {', '.join(hits)}")
    if judge is not None:
        if judge not in names and judge != "perfect":
            raise ValueError(
                f"unknown judge {judge!r}: {name} has the columns {', '.join(map(str, names))}, and perfect"
            )
        use["score"] = judge
    if "loss" in use:
        use.pop("correct", None)
    wanted = [key for key in ("prompt", "score") if key not in use]
    wanted += [] if "loss" in use or "correct" in use else ["correct or loss"]
    if wanted:
        free = [column for column in names if column not in use.values()] or names
        raise ValueError(
            f"{name} has no column for {', '.join(wanted)}; its columns are {', '.join(map(str, names))}. Say which is "
            f'which with columns, such as {{"{wanted[-1].split()[0]}": "{free[0]}"}}'
        )
    return use


def _exploded(name, frame, row, use):
    """A row a prompt with lists becomes a row a sample."""
    import pandas

    listed = [c for c in frame.columns if len(frame) and isinstance(frame[c].iloc[0], (list, np.ndarray))]
    if set(listed) <= {use.get("text")}:  # a completion may be a list of messages
        return frame, row, None
    if use.get("sample") in listed:
        frame = frame.drop(columns=use["sample"])
        listed.remove(use["sample"])
    sizes = {}
    for column in listed:
        is_list = frame[column].map(lambda value: isinstance(value, (list, np.ndarray)))
        if not is_list.all():
            i = int((~is_list).argmax())
            raise ValueError(
                f"{name} data row {row[i]}, column {column}: a list is needed, got {short(frame[column].iloc[i])}"
            )
        sizes[column] = frame[column].map(len).to_numpy()
    for column in listed[1:]:
        different = sizes[column] != sizes[listed[0]]
        if different.any():
            i = int(different.argmax())
            raise ValueError(
                f"{name} data row {row[i]}: {listed[0]} lists {sizes[listed[0]][i]} values "
                f"and {column} {sizes[column][i]}"
            )
    count = sizes[listed[0]]
    if (count == 0).any():
        raise ValueError(f"{name} data row {row[(count == 0).argmax()]}, column {listed[0]}: the list is empty")
    data = {
        c: np.concatenate([np.asarray(v, dtype=object) for v in frame[c]])
        if c in listed
        else np.repeat(frame[c].to_numpy(dtype=object), count)
        for c in frame.columns
    }
    inner = np.concatenate([np.arange(n) for n in count])
    return pandas.DataFrame(data), np.repeat(row, count), inner


def _losses(name, frame, row, use):
    if "loss" in use:
        values = _numbers(name, frame[use["loss"]], row, use["loss"])
        bad = ~np.isfinite(values)
        if bad.any():
            raise ValueError(
                f"{name} data row {row[bad.argmax()]}, column {use['loss']}: must be finite, got {values[bad][0]}"
            )
        return values
    values = _numbers(name, frame[use["correct"]], row, use["correct"])
    bad = ~((values >= 0) & (values <= 1))
    if bad.any():
        raise ValueError(
            f"{name} data row {row[bad.argmax()]}, column {use['correct']}: must be between 0 (wrong) and 1 (right), "
            f"got {values[bad][0]:g}"
        )
    return 1.0 - values


def _numbers(name, column, row, label, blank=None):
    """A column as floats; text among the numbers, and blanks where they have no meaning, are refused."""
    import pandas

    if column.dtype.kind in "iuf" and column.dtype != object:
        values = column.to_numpy(dtype=float)
        missing = np.isnan(values)
    else:
        text = column
        if column.dtype.kind != "b":
            text = column.map(_plain)
        values = pandas.to_numeric(text, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        missing = text.isna().to_numpy()
        bad = np.isnan(values) & ~missing
        if bad.any():
            i = int(bad.argmax())
            raise ValueError(f"{name} data row {row[i]}, column {label}: {short(column.iloc[i])} is not a number")
    if blank is None and missing.any():
        raise ValueError(
            f"{name} data row {row[missing.argmax()]}, column {label}: no value. An answer that cannot be read "
            "counts as wrong: write 0 for correct (or its loss), or drop the row"
        )
    return np.where(missing, blank if blank is not None else 0.0, values)


def _plain(value):
    """true and false as numbers, blanks and the spellings of nan as missing."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in ("", "nan", "null", "none", "na", "n/a"):
            return None
        return {"true": 1, "false": 0}.get(word, value)
    return value


def _whole(name, column, row, label):
    values = _numbers(name, column, row, label)
    bad = ~(values == np.floor(values))
    if bad.any():
        raise ValueError(f"{name} data row {row[bad.argmax()]}, column {label}: {values[bad][0]} is not a whole number")
    return values.astype(np.int64)
