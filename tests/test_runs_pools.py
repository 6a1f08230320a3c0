"""Anybody's pool: every format gives the same arrays; what is broken is refused by row and column."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from bestofk_runs import pools
from bestofk_runs.pools import grouping, tables

CORRECT = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 1, 0]])
SCORE = np.array([[3.0, 1.0, 2.0], [0.5, 0.25, 4.0], [1.0, 1.0, -2.0], [9.0, 8.0, 7.0]])


def frame(**changes):
    table = pd.DataFrame(
        {
            "prompt": np.repeat(list("abcd"), 3),
            "sample": np.tile(range(3), 4),
            "correct": CORRECT.ravel(),
            "score": SCORE.ravel(),
        }
    )
    return table.assign(**changes)


def write(table, path):
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    elif path.suffix == ".tsv":
        table.to_csv(path, index=False, sep="\t")
    elif path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_json(path, orient="records", lines=True)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet", "t.jsonl", "t.csv.gz", "t.jsonl.gz"])
def test_every_format_gives_the_same_arrays(tmp_path, name):
    table = frame().sample(frac=1, random_state=0)  # the order of rows does not matter where samples are numbered
    path = tmp_path / name
    if name.endswith(".gz"):
        plain = write(table, tmp_path / name[:-3])
        path.write_bytes(gzip.compress(plain.read_bytes()))
    else:
        write(table, path)
    found = pools.read(path)
    order = [found.prompt.index(p) for p in "abcd"]
    np.testing.assert_array_equal(found.loss[order], 1.0 - CORRECT)
    np.testing.assert_array_equal(found.reward[order], SCORE)
    assert found.N == 3 and found.judge == "score" and not found.flagged.any()


def test_small_parts_give_the_same_arrays(tmp_path, monkeypatch):
    path = write(frame(), tmp_path / "t.parquet")
    whole = pools.read(path)
    monkeypatch.setattr(tables, "PART", 5)
    for other in (path, write(frame(), tmp_path / "t.jsonl")):
        np.testing.assert_array_equal(pools.read(other).reward, whole.reward)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("numbered", [True, False])
def test_long_texts_make_parts_small_and_change_nothing(tmp_path, monkeypatch, suffix, numbered):
    table = frame(text=[f"{i % 3} " * 100 for i in range(12)])
    if not numbered:
        table = table.drop(columns="sample")
    path = write(table, tmp_path / f"t.{suffix}")
    whole = pools.read(path, columns={"text": "text"})
    monkeypatch.setattr(tables, "TEXT", 300)
    sizes, count = [], tables._losses
    monkeypatch.setattr(tables, "_losses", lambda name, part, *rest: sizes.append(len(part)) or count(name, part, *rest))
    found = pools.read(path, columns={"text": "text"})
    assert len(sizes) >= 4 and sum(sizes) == 12
    np.testing.assert_array_equal(found.reward, whole.reward)
    np.testing.assert_array_equal(found.text, whole.text)
    assert found.notes == whole.notes and len(np.unique(found.text)) == 3


def test_fields_that_some_rows_of_jsonl_lack(tmp_path, monkeypatch):
    rows = frame().to_dict("records")
    for row in rows[6:]:
        del row["score"]
    path = tmp_path / "t.jsonl"
    for part in (200_000, 3):  # whether or not a whole part lacks it
        monkeypatch.setattr(tables, "PART", part)
        path.write_text("\n".join(map(json.dumps, rows)))
        found = pools.read(path)
        assert np.isneginf(found.reward[2:]).all() and (found.reward[:2] == SCORE[:2]).all()
        ungraded = [{key: row[key] for key in row if key != "correct"} for row in rows[6:]]
        path.write_text("\n".join(map(json.dumps, rows[:6] + ungraded)))
        with pytest.raises(ValueError, match="t.jsonl data row 7, column correct: no value"):
            pools.read(path)


def test_sorted_rows_are_not_sorted_again():
    code, sample = np.repeat([0, 1, 2], 4), np.tile(range(4), 3)
    assert grouping._order(code, None) == grouping._order(code, sample) == slice(None)
    mixed = np.random.default_rng(0).permutation(12)
    for given in ((code[mixed], sample[mixed]), (code, sample[::-1]), (code[::-1], None)):
        assert sorted(grouping._order(*given)) == list(range(12))
    np.testing.assert_array_equal(mixed[grouping._order(code[mixed], sample[mixed])], np.arange(12))


def test_a_row_a_prompt_with_lists(tmp_path):
    rows = [
        {"question": f"q{i}", "correct": c.astype(bool).tolist(), "score": s.tolist()}
        for i, (c, s) in enumerate(zip(CORRECT, SCORE))
    ]
    path = tmp_path / "wide.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    found = pools.read(path)
    np.testing.assert_array_equal(found.loss, 1.0 - CORRECT)
    np.testing.assert_array_equal(found.reward, SCORE)
    rows[2]["score"].pop()
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match="wide.jsonl data row 3: correct lists 3 values and score 2"):
        pools.read(path)


def test_other_column_names_and_a_graded_loss():
    table = frame().rename(columns={"prompt": "qid", "correct": "ok"})
    found = pools.read(table, judge="score", columns={"prompt": "qid", "correct": "ok"})
    np.testing.assert_array_equal(found.loss, 1.0 - CORRECT)
    graded = frame(loss=np.arange(12.0)).drop(columns="correct")
    np.testing.assert_array_equal(pools.read(graded).loss.ravel(), np.arange(12.0))


def test_the_perfect_judge_needs_no_score():
    found = pools.read(frame().drop(columns="score"), judge="perfect")
    np.testing.assert_array_equal(found.reward, CORRECT - 1.0)


@pytest.mark.parametrize("loss, view", [("squared_error", float), ("squared_log_error", lambda x: np.log(1 + x))])
def test_numeric_answers_are_graded_on_either_scale(tmp_path, loss, view):
    from bestofk_runs import publishing
    from test_artifacts import tables

    (tmp_path / "toy").mkdir()
    publishing.publish_generation(tmp_path / "toy", tables()[0], {"class": "synthetic"})
    pool = pools.read(tmp_path / "toy", judge="perfect", loss=loss)
    # answers 6 + p + i to gold 7, 8, 9; the first cannot be read
    for p, row in zip("012", pool.loss):
        expected = [(view(6.0 + int(p) + i) - view(7.0 + int(p))) ** 2 for i in range(p == "0", 4)]
        np.testing.assert_allclose(row, expected[: len(row)])
    with pytest.raises(ValueError, match="loss must be one of error, squared_error, squared_log_error, got 'rmse'"):
        pools.read(tmp_path / "toy", loss="rmse")


def test_unequal_counts_missing_scores_and_repeats_are_told():
    table = frame(score=[None, *SCORE.ravel()[1:]])
    found = pools.read(pd.concat([table, table.iloc[[5]], table.iloc[[4]].assign(prompt="short")]), samples=2)
    assert found.prompt == list("abcd") and np.isneginf(found.reward[0][0])
    notes = "\n".join(found.notes)
    assert "1 rows repeat another row" in notes
    assert "1 of 12 samples (8.3%) has no score" in notes
    assert "1 prompt with fewer than 2 samples left out (the first is 'short', with 1)" in notes


def test_unequal_counts_give_ragged_rows():
    found = pools.read(frame().iloc[:-1])
    assert [len(row) for row in found.loss] == [3, 3, 3, 2] and found.N == 2
    assert "prompts have 2 to 3 samples: k goes up to 2, all samples are used" in found.notes


@pytest.mark.parametrize("limit, count", [(2, 2), (0.5, 2), (0.3, 2), (4, 4), (0.01, 1)])
def test_limit_is_a_share_or_a_number(limit, count):
    assert pools.read(frame(), limit=limit).prompt == list("abcd")[:count]


def text_among(column, place, value):
    values = frame()[column].astype(object)
    values[place] = value
    return frame(**{column: values})


BROKEN = [
    (
        frame().rename(columns={"correct": "colour"}),
        "no column for correct or loss; its columns are prompt, sample, colour",
    ),
    (frame().drop(columns="prompt"), "no column for prompt"),
    (text_among("score", 4, "great"), r"data row 5, column score: 'great' is not a number"),
    (text_among("correct", 7, "maybe"), r"data row 8, column correct: 'maybe' is not a number"),
    (text_among("correct", 7, None), r"data row 8, column correct: no value. An answer that cannot be read counts as"),
    (text_among("correct", 2, 7), r"data row 3, column correct: must be between 0 \(wrong\) and 1 \(right\), got 7"),
    (text_among("score", 3, "inf"), r"data row 4, column score: inf is not a score"),
    (text_among("prompt", 0, None), r"data row 1, column prompt: no prompt"),
    (text_among("sample", 1, 0.5), r"data row 2, column sample: 0.5 is not a whole number"),
    (frame().iloc[:0], "holds no rows"),
    (frame(score=None), "no score by score at all"),
    (frame(sample=0), r"sample 0 of prompt 'a' occurs twice with different values \(data rows 1 and 2\)"),
]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("table, message", BROKEN, ids=[m[:40] for _, m in BROKEN])
def test_broken_tables_are_refused_by_row_and_column(tmp_path, table, message, suffix):
    if suffix == "parquet":
        table = table.astype(
            {c: str for c in table.columns if table[c].map(type).nunique() > 1 and table[c].notna().all()}
        )
    path = write(table, tmp_path / f"broken.{suffix}")
    with pytest.raises(ValueError, match=f"(?i)broken.{suffix}.*{message}"):
        pools.read(path)


def test_broken_files_are_refused(tmp_path):
    cases = {
        "empty.csv": (b"", "holds no rows"),
        "ragged.csv": (b"prompt,correct,score\na,1,2\na,1\n", "not a readable table"),
        "binary.csv": (b"prompt,correct,score\na,1,\xff\xfe\n", "UTF-?8"),
        "torn.parquet": (b"PAR1 torn", "not a readable parquet file"),
        "torn.jsonl": (b'{"prompt": "a", "correct": 1, "score": 2}\n{"prompt": "a", "cor', "line 2 is not JSON"),
        "list.jsonl": (b"[1, 2]\n", "line 1 is not an object"),
        "pool.xlsx": (b"x", "must be a run's folder or one of"),
        "pool.pkl": (b"x", "must be a run's folder or one of"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            pools.read(tmp_path / name)
    with pytest.raises(ValueError, match="does not exist"):
        pools.read(tmp_path / "nothing.csv")
    with pytest.raises(ValueError, match="unknown judge 'x': t.csv has the columns prompt, sample, correct, score"):
        pools.read(write(frame(), tmp_path / "t.csv"), judge="x")
    with pytest.raises(ValueError, match="judge must be said: .* has score, reward"):
        pools.read(write(frame(reward=1.0), tmp_path / "two.csv"))


def test_an_empty_name_says_what_a_pool_may_be():
    with pytest.raises(ValueError, match="^parameter pool must be given, got '': a run's folder, .* or a table .*.csv"):
        pools.read("")


def test_texts_with_line_breaks_and_separators(tmp_path):
    table = frame(text='she said "1, 2;\n3"')
    found = pools.read(write(table, tmp_path / "texts.csv"))
    np.testing.assert_array_equal(found.reward, SCORE)
    table.to_csv(tmp_path / "semicolon.csv", index=False, sep=";")
    np.testing.assert_array_equal(pools.read(tmp_path / "semicolon.csv").reward, SCORE)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl", None])
def test_a_table_pasted_twice_is_told(tmp_path, suffix):
    once = frame(text=[f"text {i}" for i in range(12)]).drop(columns="sample")
    twice = pd.concat([once, once], ignore_index=True)

    def note(table):
        source = table if suffix is None else write(table, tmp_path / f"t.{suffix}")
        return [note for note in pools.read(source).notes if "repeat" in note]

    assert note(once) == []
    told = "12 of 24 rows repeat an earlier row of the same prompt in every column: kept as samples"
    assert note(twice) == [f"{told}, every row occurs 2 times or a multiple of that: was the table pasted twice?"]
    assert note(twice.assign(text=[f"text {i}" for i in range(24)])) == []  # another column tells them apart
    assert note(twice.iloc[:13]) == [told.replace("12 of 24", "1 of 13")]


@pytest.mark.parametrize("suffix", ["csv", "tsv", None])
def test_two_columns_of_one_name_are_refused(tmp_path, suffix):
    table = frame()
    table.insert(4, "score", 0.0, allow_duplicates=True)
    source = table if suffix is None else write(table, tmp_path / f"t.{suffix}")
    with pytest.raises(ValueError, match="has two columns 'score': rename or drop one"):
        pools.read(source)


def test_rows_of_jsonl_are_counted_without_blank_lines(tmp_path):
    path = write(text_among("score", 4, "great"), tmp_path / "t.jsonl")
    path.write_text("\n\n" + path.read_text())
    with pytest.raises(ValueError, match="t.jsonl data row 5, column score"):
        pools.read(path)


# stored samples of lm-eval


def lm_eval_rows(filters=("strict-match", "flexible-extract"), **more):
    rows = []
    for name in filters:
        for i, (correct, score) in enumerate(zip(CORRECT, SCORE)):
            texts = [f"so {i} + {j} = {i + j}. The answer is {18 if ok else 17}." for j, ok in enumerate(correct)]
            rows.append(
                {
                    "doc_id": i,
                    "doc": {"question": f"question {i}", "answer": "2 * 9 = 18\n#### 18"},
                    "target": "18",
                    "resps": [texts],
                    "filtered_resps": [texts[0]],
                    "filter": name,
                    "exact_match": 0.0,
                    "doc_hash": f"hash{i}",
                    "scores": {"mistral": score.tolist()},
                    **more,
                }
            )
    return rows


def lm_eval_file(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_lm_eval_rows_of_every_filter_are_read_once(tmp_path):
    path = lm_eval_file(tmp_path / "model" / "samples_gsm8k.jsonl", lm_eval_rows())
    for source in (path, tmp_path, f"{tmp_path}/**/samples_*.jsonl"):
        found = pools.read(source, judge="scores.mistral")
        np.testing.assert_array_equal(found.loss, 1.0 - CORRECT)
        np.testing.assert_array_equal(found.reward, SCORE)
        assert "4 rows repeat a prompt under another filter (strict-match, flexible-extract)" in found.notes[0]
    only = pools.read(path, judge="long", filter="strict-match")
    assert not any("repeat a prompt" in note for note in only.notes)
    assert (only.reward > 0).all()


def test_lm_eval_answers_are_the_last_ones_not_the_first(tmp_path):
    rows = lm_eval_rows(("none",))
    rows[0]["resps"] = [["He has 16 eggs and 2 more. The answer is $18.", "18 eggs minus 1 is 17", "#### 18"]]
    found = pools.read(lm_eval_file(tmp_path / "samples_x.jsonl", rows), judge="perfect")
    np.testing.assert_array_equal(found.loss[0], [0, 1, 0])


def test_rows_that_disagree_with_the_files_own_metric_are_counted(tmp_path):
    rows = lm_eval_rows()
    for row, correct in zip(rows, [*CORRECT[:, 0], *CORRECT.mean(axis=1)]):
        row["exact_match"] = float(correct)  # the first completion's, or the mean
    path = tmp_path / "samples_x.jsonl"
    assert not any("disagree" in note for note in pools.read(lm_eval_file(path, rows), judge="perfect").notes)
    rows[0]["exact_match"] = 0.5
    note = pools.read(lm_eval_file(path, rows), judge="perfect").notes[-1]
    kinds = "strict-match (1 of 4), flexible-extract (0 of 4)"
    assert f"1 of 8 rows disagree with the file's own exact_match; the file's filters: {kinds}" in note
    note = pools.read(path, judge="perfect", filter="strict-match").notes[-1]
    assert note == "1 of 4 rows disagree with the file's own exact_match; the file's filter: strict-match (1 of 4)"


def test_lm_eval_damage_is_named(tmp_path):
    path = tmp_path / "samples_x.jsonl"
    with pytest.raises(ValueError, match="line 1: no judge 'mistral'. lm-eval stores no judge scores"):
        pools.read(lm_eval_file(path, lm_eval_rows()), judge="mistral")
    with pytest.raises(ValueError, match="line 1: judge must be said"):
        pools.read(path)
    with pytest.raises(ValueError, match="no filter 'x', only strict-match, flexible-extract"):
        pools.read(path, judge="perfect", filter="x")
    rows = lm_eval_rows()
    rows[5]["resps"] = [["another"]]
    with pytest.raises(ValueError, match="line 6 repeats document 1 with other completions"):
        pools.read(lm_eval_file(path, rows), judge="perfect")
    rows = lm_eval_rows(scores={"mistral": [1, 2]})
    with pytest.raises(ValueError, match="scores.mistral must list 3 numbers"):
        pools.read(lm_eval_file(path, rows), judge="scores.mistral")
    rows = lm_eval_rows(resps=[[["-1.2", "True"]], 3])
    with pytest.raises(ValueError, match="line 1: resps must list the completions"):
        pools.read(lm_eval_file(path, rows), judge="perfect")


def test_texts_and_tokens_of_a_table_are_read_where_it_has_them(tmp_path):
    texts = ["a", "b", "a", "c", "a", "a", "a", "a", "d", "e", "f", "d"]  # 1 + 1 + 1 + 0 repeats
    table = frame(response=texts, completion_tokens=[10, 20, None, *[20] * 9])
    paths = [write(table, tmp_path / name) for name in ("t.csv", "t.parquet", "t.jsonl")]
    for found in map(pools.read, [table, *paths]):
        assert [len(set(row)) for row in found.text] == [2, 2, 2, 3]
        assert "3 of 12 samples (25%) repeat a text of the same prompt" in found.notes
        assert found.tokens == pytest.approx((10 + 20 * 10) / 11) and found.judge_tokens is None
    named = table.rename(columns={"response": "said", "completion_tokens": "n"})
    assert pools.read(named).text is None and pools.read(named).tokens is None
    named = pools.read(named, columns={"text": "said", "tokens": "n"})
    np.testing.assert_array_equal(named.text, found.text)
    messages = pools.read(table.assign(response=[[{"content": text}] for text in texts]))
    assert [len(set(row)) for row in messages.text] == [2, 2, 2, 3]
    assert len(pools.read(table).take([0, 2]).text) == 2


def test_the_first_of_each_text_is_the_first_stored():
    rng = np.random.default_rng(0)
    code, text = np.sort(rng.integers(0, 5, 200)), rng.integers(0, 9, 200)
    seen, first = set(), []
    for pair in zip(code.tolist(), text.tolist()):
        first.append(pair not in seen)
        seen.add(pair)
    np.testing.assert_array_equal(pools.first_of_each(code, text), first)


@pytest.mark.parametrize(
    "run, judge, texts, tokens, prompt_tokens, judge_tokens",
    [
        ("smollm2-arithmetic", "yes-smollm2", True, 1360905 / 76800, 124017 / 600, 235346 / 600),
        ("smollm2-arithmetic", "length", True, 1360905 / 76800, 124017 / 600, 0),
        ("smollm2-sums", "numeric", True, 521940 / 25600, 22162 / 100, 0),
        ("smollm2-sums", "numeric-gemma3", True, 521940 / 25600, 22162 / 100, None),  # what the other model costs
        ("qwen2.5-0.5b-gsm8k", "perfect", True, 985545 / 3200, None, 0),  # texts unpublished, none repeats
        ("smollm2-gsm8k", "entropy-smollm2", False, 316586 / 3200, 38946 / 100, 372016 / 100),
    ],
)
def test_costs_and_repeats_are_the_manifests(run, judge, texts, tokens, prompt_tokens, judge_tokens):
    found = pools.read(run, judge=judge)
    cost = (found.tokens, found.prompt_tokens, found.judge_tokens)
    assert cost == tuple(x and pytest.approx(x) for x in (tokens, prompt_tokens, judge_tokens))
    assert (found.text is not None) == texts
    note = "23 of 3200 samples (0.7%) repeat a text of the same prompt; the texts are not published"
    assert (note in found.notes) == (run == "smollm2-gsm8k")
    if run == "smollm2-arithmetic":
        assert sum(len(set(row)) for row in found.text) == 19009
