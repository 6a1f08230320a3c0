"""Tasks: generated problems are distinct and right, files are read whole or refused."""

import json
import re

import pytest

from bestofk_runs import tasks

SHOT = re.compile(r"(\d+) boxes\. Each box holds (\d+)")


def operands(text):
    return [tuple(map(int, pair)) for pair in SHOT.findall(text)]


def test_problems_are_right_distinct_and_not_among_the_worked_examples():
    task = tasks.load("boxes", limit=600)
    assert len(task.problems) == 600 and len({p.prompt_id for p in task.problems}) == 600
    for level in (1, 2, 3, 4):
        problems = [p for p in task.problems if p.difficulty == level]
        assert len(problems) == 150
        asked = []
        for p in problems:
            *shots, question = operands(p.prompt)
            assert [question] == operands(p.question) and len(shots) == 4 and question not in shots
            assert p.gold == str(question[0] * question[1])
            asked.append(question)
        assert len(set(asked)) == 150
        # the worked examples are right too
        for a, b, claimed, marked in re.findall(r"Answer: (\d+) \* (\d+) = (\d+)\. #### (\d+)", problems[0].prompt):
            assert int(a) * int(b) == int(claimed) == int(marked)


def test_a_level_with_too_few_problems_has_fewer():
    task = tasks.load("boxes", limit=4000)
    sizes = {level: sum(p.difficulty == level for p in task.problems) for level in tasks.BOXES}
    for level, ((a, b), (c, d)) in tasks.BOXES.items():
        assert sizes[level] == min(1000, (b - a + 1) * (d - c + 1) - 4)


def test_the_same_seed_gives_the_same_problems_and_a_smaller_limit_their_beginning():
    whole, again, other = (
        tasks.load("boxes", limit=40),
        tasks.load("boxes", limit=40),
        tasks.load("boxes", limit=40, seed=1),
    )
    assert whole == again and whole.sha256 != other.sha256
    few = tasks.load("boxes", limit=8)
    assert {p.prompt_id: p.prompt for p in few.problems}.items() <= {
        p.prompt_id: p.prompt for p in whole.problems
    }.items()


def test_sums_are_right_distinct_and_grow_by_digits():
    task = tasks.load("sums", limit=400)
    for level in (1, 2, 3, 4):
        problems = [p for p in task.problems if p.difficulty == level]
        assert len(problems) == (96 if level == 1 else 100)  # one digit: 10 x 10 pairs, 4 of them worked examples
        asked = []
        for p in problems:
            *shots, (a, b) = re.findall(r"has (\d+) \w+ and gets (\d+) more", p.prompt)
            assert len(a) == len(b) == level and p.gold == str(int(a) + int(b)) and (a, b) not in shots
            asked.append((a, b))
        assert len(set(asked)) == len(asked)


def test_estimates_show_rounding_and_ask_for_the_product():
    sizes = {1: (2, 1), 2: (2, 2), 3: (3, 2), 4: (3, 3)}
    for p in tasks.load("estimates", limit=200).problems:
        *shown, (a, b) = re.findall(r"has (\d+) boxes\. Each box holds (\d+) ", p.prompt)
        assert (len(a), len(b)) == sizes[p.difficulty] and int(p.gold) == int(a) * int(b) and (a, b) not in shown
        worked = re.findall(r"About (\d+) \* (\d+) = (\d+)\. #### (\d+)\n", p.prompt)
        assert len(worked) == len(shown) == 4
        for (c, d), (near_c, near_d, product, answer) in zip(shown, worked):
            assert int(product) == int(answer) == int(near_c) * int(near_d)
            for exact, near in ((c, near_c), (d, near_d)):
                unit = 10 ** (len(exact) - 1)
                assert int(near) % unit == 0 and abs(int(near) - int(exact)) <= unit / 2


def test_without_worked_examples_a_file_asks_for_a_boxed_answer(tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"question": "1+1?", "answer": "2"}\n')
    prompt = tasks.load(str(tmp_path / "mine.jsonl"), examples=0).problems[0].prompt
    assert prompt.startswith("1+1?\n") and prompt.endswith("\\boxed{}.")


def test_gsm8k_without_a_hub_says_what_to_do(monkeypatch):
    hub = pytest.importorskip("huggingface_hub")

    def offline(*args, **kwargs):
        raise OSError("no route")

    monkeypatch.setattr(hub, "hf_hub_download", offline)
    with pytest.raises(ValueError, match="task gsm8k could not be fetched from the hub .*gsm8k:FILE.jsonl"):
        tasks.load("gsm8k")


def test_fewer_examples():
    assert len(operands(tasks.load("boxes", limit=1, examples=0).problems[0].prompt)) == 1
    assert len(operands(tasks.load("boxes", limit=1, examples=2).problems[0].prompt)) == 3


def test_a_file_of_questions(tmp_path):
    file = tmp_path / "mine.jsonl"
    rows = [
        {"question": "1+1?", "answer": "2"},
        {"question": "Big?", "answer": "so 1,200 of them\n#### 1,200", "id": "b", "difficulty": 3},
    ]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    task = tasks.load(str(file))
    assert [p.gold for p in task.problems] == ["2", "1200"]
    assert [p.prompt_id for p in task.problems] == ["mine-00000", "b"] and task.problems[1].difficulty == 3
    assert task.problems[0].prompt.endswith("Question: 1+1?\nAnswer:") and not task.publish_texts
    assert len(tasks.load(str(file), limit=1).problems) == 1


def test_a_limit_below_1_is_a_share(tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"question": f"{i}?", "answer": str(i)}) + "\n" for i in range(7)))
    whole = tasks.load(str(file)).problems
    assert [len(tasks.load(str(file), limit=limit).problems) for limit in (0.3, 0.5, 7.0)] == [3, 4, 7]
    assert tasks.load(str(file), limit=0.5).problems == whole[:4]
    assert len(tasks.load("boxes", limit=0.02).problems) == 12
    for bad in (1.5, float("nan"), float("inf"), -0.5):
        with pytest.raises(ValueError, match=f"limit must be a share below 1 or a whole number .*{bad}"):
            tasks.load("boxes", limit=bad)


@pytest.mark.parametrize("line", ["{", "[]", '{"question": "x"}', '"text"', "3"])
def test_a_damaged_line_is_named(tmp_path, line):
    file = tmp_path / "mine.jsonl"
    file.write_text('{"question": "a", "answer": "1"}\n' + line + "\n")
    with pytest.raises(ValueError, match="line 2 is not a JSON object with question and answer"):
        tasks.load(str(file))


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="'gone.jsonl' does not exist"):
        tasks.load("gone.jsonl")
    with pytest.raises(ValueError, match="task must be .*'riddles'"):
        tasks.load("riddles")
    with pytest.raises(ValueError, match="limit .*0"):
        tasks.load("boxes", limit=0)
    with pytest.raises(ValueError, match="examples .*5"):
        tasks.load("boxes", examples=5)
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(ValueError, match="holds no questions"):
        tasks.load(str(tmp_path / "empty.jsonl"))
    (tmp_path / "twice.jsonl").write_text('{"question": "a", "answer": "1", "id": 1}\n' * 2)
    with pytest.raises(ValueError, match="same id twice"):
        tasks.load(str(tmp_path / "twice.jsonl"))
