"""Changing keys of case.toml: only they change, only what can be read is written, and nobody's change is lost."""

from __future__ import annotations

import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_advisor import case
from finetune_advisor.case.editing import changed
from finetune_advisor.errors import BadInput
from finetune_advisor.records import TaskKind

SAMPLE = (Path(case.__file__).parents[1] / "sample" / case.FILE).read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / case.FILE).write_bytes(SAMPLE.encode("utf-8"))
    return tmp_path


def text(folder: Path) -> str:
    return (folder / case.FILE).read_bytes().decode("utf-8")


def lines_changed(before: str, after: str) -> tuple[list[str], list[str]]:
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


def comments(text: str) -> list[str]:
    return [line.partition("#")[2].strip() for line in text.splitlines() if "#" in line]


def test_a_key_changes_and_its_comment_stays_in_its_column(folder: Path) -> None:
    read = case.edit(folder, {"money.requests_per_month": 150, "money.usd_per_right_answer": Decimal("0.2")})
    assert (read.money.requests_per_month, read.money.usd_per_right_answer) == (150, Decimal("0.2"))
    assert lines_changed(SAMPLE, text(folder)) == (
        [
            "requests_per_month = 20_000",
            "usd_per_right_answer = 0.15    # what a ticket that needs no second look saves",
        ],
        ["requests_per_month = 150", "usd_per_right_answer = 0.2     # what a ticket that needs no second look saves"],
    )


def test_a_new_key_joins_its_table_and_not_the_comment_of_the_next(folder: Path) -> None:
    case.edit(folder, {"money.data_hours": None, "money.always_on": True})
    after = text(folder)
    assert "upkeep_hours_per_month = 4\nalways_on = true\n\n# Answers to the questionnaire" in after
    assert "data_hours" not in after
    assert comments(after) == comments(SAMPLE)


def test_a_key_that_is_shown_commented_out_goes_below_that_line(tmp_path: Path) -> None:
    case.write_new(tmp_path, title="T", kind=TaskKind.TEXT, examples=None, documents=None)
    before = text(tmp_path)
    case.edit(tmp_path, {"goal.needed_score": 0.8, "data.documents": "handbook"})
    assert lines_changed(before, text(tmp_path)) == ([], ['documents = "handbook"', "needed_score = 0.8"])
    assert "# needed_score = 0.9\nneeded_score = 0.8\n" in text(tmp_path)
    assert '# documents = "documents"\ndocuments = "handbook"\n' in text(tmp_path)


def test_a_new_table_goes_to_the_end(folder: Path) -> None:
    read = case.edit(folder, {"uncertainty.prices": [0.9, 1.25], "learning_curve": {"seeds": 2}})
    assert read.uncertainty.prices == (0.9, 1.25)
    assert text(folder) == SAMPLE + "\n[uncertainty]\nprices = [0.9, 1.25]\n\n[learning_curve]\nseeds = 2\n"
    case.edit(folder, {"uncertainty": None, "learning_curve": None})
    assert text(folder).rstrip() == SAMPLE.rstrip()


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.15, "0.15"),
        (0.1 + 0.2, "0.3"),
        (0.1499999999999999, "0.15"),
        (Decimal("0.10"), "0.10"),
        (0.00001, "0.00001"),
        (60.0, "60"),
        (Decimal("1250000"), "1_250_000"),
        (9_999, "9999"),
    ],
)
def test_numbers_are_written_as_people_write_them(folder: Path, value: float | Decimal, written: str) -> None:
    case.edit(folder, {"money.usd_per_wrong_answer": value})
    assert f"\nusd_per_wrong_answer = {written}\n" in text(folder)


def test_the_same_value_again_changes_no_byte(folder: Path) -> None:
    values: dict[str, object] = {"money.requests_per_month": 20000, "arms.tuned.settings.learning_rate": 0.002}
    case.edit(folder, values | {"goal.kind": "quality", "data.prompt_column": None})
    assert text(folder) == SAMPLE


def test_arms_and_their_settings(folder: Path) -> None:
    read = case.edit(folder, {"arms.few_shot.settings.shots": [2, 6], "arms.zero_shot.models": ["smollm2-135m"]})
    assert [arm.settings for arm in read.arms if arm.approach == "few_shot"] == [{"shots": [2, 6]}]
    assert "settings = { shots = [2, 6] }   # a list is tried" in text(folder)
    read = case.edit(folder, {"arms.tuned.settings.epochs": 4, "arms.tuned.settings.rank": 16})
    assert "settings = { epochs = 4, top_layers = 15, learning_rate = 2e-3, rank = 16 }" in text(folder)
    assert read.arms[0].models == ("smollm2-135m",)


def test_arms_are_removed_and_added_without_touching_the_comments_of_others(folder: Path) -> None:
    read = case.edit(folder, {"arms.rag": None})
    assert "rag" not in [arm.approach for arm in read.arms]
    assert "settings = { shots = 4 }\n\n# Adapters on the upper half" in text(folder)
    read = case.edit(folder, {"arms.classical": {}, "arms.7": {"approach": "few_shot", "settings": {"shots": 1}}})
    assert [arm.approach for arm in read.arms][-2:] == ["classical", "few_shot"]
    assert comments(text(folder)) == comments(SAMPLE)
    assert '\n\n[[arms]]\napproach = "few_shot"\nsettings = { shots = 1 }\n\n[goal]\n' in text(folder)


def test_of_two_arms_with_one_approach_the_place_says_which(folder: Path) -> None:
    case.edit(folder, {"arms.7": {"approach": "few_shot", "settings": {"shots": 1}}})
    before = text(folder)
    with pytest.raises(BadInput, match="Several arms have the approach few_shot") as refused:
        case.edit(folder, {"arms.few_shot.settings.shots": 3})
    assert refused.value.hint == "Say which: arms.2, arms.7."
    assert text(folder) == before
    assert case.edit(folder, {"arms.7.settings.shots": 3}).arms[6].settings == {"shots": 3}


def test_models_are_added_renamed_and_removed(folder: Path) -> None:
    name = case.key("models", "llama-3.1-8b")
    read = case.edit(folder, {name: {"provider": "huggingface", "options": {"id": "org/llama"}, "price": None}})
    assert [(model.name, model.options) for model in read.models][1] == ("llama-3.1-8b", {"id": "org/llama"})
    read = case.edit(folder, {f"{name}.options.id": "org/other", "models.smollm2-135m.name": "small"})
    assert [model.name for model in read.models] == ["small", "llama-3.1-8b"]
    read = case.edit(folder, {name: {"provider": "fake"}, "models.small": None})
    assert [(model.name, model.provider, model.options) for model in read.models] == [("llama-3.1-8b", "fake", {})]
    case.edit(folder, {name: None})
    assert case.edit(folder, {"models.m": {"provider": "fake"}}).models[0].name == "m"


def test_models_written_as_a_list_in_one_line(folder: Path) -> None:
    inline = SAMPLE.replace('[[models]]\nname = "smollm2-135m"\nprovider = "embedded"\n', "")
    (folder / case.FILE).write_text("models = []\n" + inline, encoding="utf-8")
    read = case.edit(folder, {"models.a": {"provider": "fake"}})
    assert text(folder).startswith('models = [{ name = "a", provider = "fake" }]\n')
    assert read.models[0].name == "a"
    assert case.edit(folder, {"models.a.options.seed": 3}).models[0].options == {"seed": 3}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"money.requests_per_month": -1}, r"money\.requests_per_month: Input should be greater than 0"),
        ({"money.requests": 5}, r"money\.requests: Extra inputs"),
        ({"answers.prompting": "perhaps"}, "prompting has to be one of"),
        ({"task.metric": "beauty"}, r"task\.metric: There is no metrics entry named 'beauty'"),
        ({"arms.few_shot.settings.shots": object()}, r"arms\.few_shot\.settings\.shots cannot be a object"),
        ({"arms.few_shot.models": ["gone"]}, r"arms\.2: Arm few_shot names the model 'gone'"),
        ({"arms.magic": {}}, r"arms\.7: There is no approaches entry named 'magic'"),
        ({"arms.magic.settings": {}}, "the case has no magic"),
        ({"models.smollm2-135m.provider": "nobody"}, r"models\.smollm2-135m: There is no models entry"),
        ({"arms": []}, "arms is a list of tables"),
        ({"title.words": "x"}, r"title\.words: case\.toml has no table there"),
        ({"title": None}, "title: Field required"),
        ({"nonsense": 1}, "nonsense: Extra inputs"),
        ({"a = 1\nb": 2}, "is not the name of one key"),
        ({"money.": 2}, "is not the name of a key"),
        ({"goal.latency_seconds": float("nan")}, r"goal\.latency_seconds has to be a number"),
        ({"title": "\ud800"}, "title holds half of a character"),
        ({"money.horizon_months": 6, "goal.kind": "fame"}, r"goal\.kind: Input should be"),
    ],
)
def test_what_read_would_refuse_is_refused_and_the_file_is_as_it_was(
    folder: Path, changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        case.edit(folder, changes)
    assert text(folder) == SAMPLE
    assert not [path for path in folder.iterdir() if path.name not in (case.FILE, ".case.toml.lock")]


def test_a_table_in_several_pieces_is_left_to_the_person(folder: Path) -> None:
    parted = SAMPLE.replace("[goal]", "[task.metric_options]\n\n[goal]")
    (folder / case.FILE).write_text(parted, encoding="utf-8")
    with pytest.raises(BadInput, match=r"\[task\] stands in several places"):
        case.edit(folder, {"task.instruction": "x"})
    assert text(folder) == parted


def test_a_sub_table_can_be_changed_and_replaced(folder: Path) -> None:
    (folder / case.FILE).write_text(
        SAMPLE.replace("[goal]\n", "[arms.settings]   # long\ndepth = 3\n\n[goal]\n").replace(
            "settings = { epochs = 1, top_layers = 15, batch_size = 2, depth = 2 }", ""
        ),
        encoding="utf-8",
    )
    assert case.edit(folder, {"arms.tuned_rag.settings.depth": 4}).arms[5].settings == {"depth": 4}
    assert "[arms.settings]   # long\ndepth = 4\n" in text(folder)
    assert case.edit(folder, {"arms.tuned_rag.settings": {"depth": 1}}).arms[5].settings == {"depth": 1}
    assert "[arms.settings]" not in text(folder)


def test_no_case_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no readable case\.toml"):
        case.edit(tmp_path, {"title": "x"})
    (tmp_path / case.FILE).write_text("title = ", encoding="utf-8")
    with pytest.raises(BadInput, match="not valid TOML"):
        case.edit(tmp_path, {"title": "x"})


def test_line_endings_and_the_byte_order_mark_stay(folder: Path) -> None:
    raw = b"\xef\xbb\xbf" + SAMPLE.replace("\n", "\r\n").encode("utf-8")
    (folder / case.FILE).write_bytes(raw)
    case.edit(folder, {"goal.needed_score": 0.5, "money.always_on": True, "arms.classical": {}, "arms.rag": None})
    after = (folder / case.FILE).read_bytes()
    assert after.startswith(b"\xef\xbb\xbf#")
    assert b"\n" not in after.replace(b"\r\n", b"")
    case.edit(folder, {"goal.needed_score": 0.75, "money.always_on": None})
    assert lines_changed(SAMPLE, text(folder).removeprefix("\ufeff"))[1] == ['approach = "classical"']


def test_the_permissions_stay_and_a_link_stays_a_link(tmp_path: Path, folder: Path) -> None:
    (folder / case.FILE).chmod(0o640)
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / case.FILE).symlink_to(folder / case.FILE)
    case.edit(linked, {"title": "Through a link"})
    assert (linked / case.FILE).is_symlink()
    assert (folder / case.FILE).stat().st_mode & 0o777 == 0o640
    assert case.read(folder).title == "Through a link"


def test_two_people_at_once_lose_nothing(folder: Path) -> None:
    keys = ["data_hours", "evaluation_hours", "tuning_hours", "deployment_hours", "retraining_hours"]
    with ThreadPoolExecutor(len(keys)) as pool:
        done = [pool.submit(case.edit, folder, {f"money.{key}": 7 + i}) for i, key in enumerate(keys)]
        [each.result() for each in done]
    money = case.read(folder).money.model_dump()
    assert [money[key] for key in keys] == [7, 8, 9, 10, 11]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars: st.SearchStrategy[Any] = st.one_of(
    st.booleans(), st.integers(-(10**12), 10**12), st.decimals(-1000, 1000, places=3), texts
)
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(texts, scalars, max_size=3)
tables = st.sampled_from(["money", "answers", "task", "extra", "models.smollm2-135m.options", "arms.rag.settings"])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(tables, texts, st.none() | values), max_size=3))
def test_any_change_keeps_comments_and_other_keys_and_reads_back(changes: list[tuple[str, str, Any]]) -> None:
    before = tomllib.loads(SAMPLE)
    named = {f"{table}.{case.key(name)}": value for table, name, value in changes}
    after = changed(SAMPLE, named)
    now = tomllib.loads(after)
    touched = {table.partition(".")[0] for table, _, _ in changes}
    assert {k: v for k, v in now.items() if k not in touched} == {k: v for k, v in before.items() if k not in touched}
    assert [line for line in comments(SAMPLE) if line not in comments(after)] == []
    for name, value in named.items():
        expected = None if value is None else tomllib.loads(changed("", {"x.y": value}))["x"]["y"]
        assert reached(now, name) == expected


def reached(values: Any, name: str) -> Any:
    found: Any = tomllib.loads(f"{name} = 0")
    while found != 0:
        key = str(next(iter(found)))
        found = found[key]
        if isinstance(values, list):
            values = next(each for each in cast("list[dict[str, Any]]", values) if key in each.values())
        else:
            values = values.get(key, None if found == 0 else {})
    return values


@settings(deadline=None, max_examples=30)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives(instruction: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / case.FILE).write_text(SAMPLE, encoding="utf-8")
        assert case.edit(Path(name), {"task.instruction": instruction}).task.instruction == instruction
        assert case.read(Path(name)).task.instruction == instruction


def test_what_speaks_against_the_new_case_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    case.sample(tmp_path)
    before = (tmp_path / case.FILE).read_bytes()

    def never(new: case.Case) -> None:
        raise BadInput(f"{new.money.requests_per_month} are too many.")

    with pytest.raises(BadInput, match="7 are too many"):
        case.edit(tmp_path, {"money.requests_per_month": 7}, sound=never)
    assert (tmp_path / case.FILE).read_bytes() == before
