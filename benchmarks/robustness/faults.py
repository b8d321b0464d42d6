"""The table of faults: what was tried, how often, what was lost, and what the peers do.

How often comes from ``results/reliability.jsonl``. What the peers do was read in their files, which the table
names: solo-learn (vturrisi/solo-learn), lightly (lightly-ai/lightly) and stable-pretraining
(galilai-group/stable-pretraining).
"""

from collections import Counter
from dataclasses import dataclass

from benchmarks.rows import Row

ORDER = "no: the order and the views come from generators that no checkpoint holds"


@dataclass(frozen=True)
class Fault:
    """One row.

    Attributes:
        what: goes wrong.
        tried: names of moments (of the kills) and of tests.
        lost: or what happens instead.
        solo, lightly, stable: the peers in the same case.
    """

    what: str
    tried: tuple[str, ...]
    lost: str
    solo: str
    lightly: str
    stable: str


EPOCH = "up to an epoch: written after validation (`solo/utils/checkpointer.py`)"
DEFAULT = "up to an epoch: Lightning's default (`benchmarks/imagenet/vitb16/main.py`)"
REQUEUE = "up to an epoch, or a number of steps if set (`manager.py`)"
WHOLE = "Lightning writes beside it and moves"
MOMENTS = ("between steps", "in the backward pass", "in a look", "at any time")

FAULTS = (
    Fault(
        "SIGKILL between steps, in one, while a subset is judged, or whenever",
        MOMENTS,
        "steps since the last checkpoint, at most a minute",
        EPOCH,
        DEFAULT,
        REQUEUE,
    ),
    Fault(
        "… and the weights after resuming",
        ("test_from_any_checkpoint", "test_a_run_killed_while_it_trains"),
        "nothing: the same bits, and the same metrics file",
        ORDER,
        ORDER,
        "as far as the given loader can resume by itself",
    ),
    Fault(
        "SIGKILL while a checkpoint is written",
        ("while writing a checkpoint", "before a checkpoint has its name"),
        "that checkpoint; the one before stays",
        WHOLE,
        WHOLE,
        WHOLE,
    ),
    Fault(
        "a checkpoint cut short or with a flipped bit",
        (
            "test_a_damaged_checkpoint_is_passed_over",
            "test_only_damaged_checkpoints",
        ),
        "the steps since the newest intact one, which is loaded and reported",
        "the newest by its date is loaded (`solo/utils/auto_resumer.py`)",
        "the file is named by hand (`main.py`)",
        "`last.ckpt` is loaded (`manager.py`)",
    ),
    Fault(
        "a loading process is killed",
        ("in a worker",),
        "steps since the last checkpoint; a sentence, status 1",
        "torch's traceback",
        "torch's traceback",
        "torch's traceback",
    ),
    Fault(
        "SIGKILL while the encoder is saved, judged, or its scores noted",
        ("while saving the encoder", "during the evaluation", "before the results are noted"),
        "nothing: training is not repeated, no half folder is left",
        "judged by another command",
        "judged in the same process, to be repeated by hand (`main.py`)",
        "judged during training by callbacks",
    ),
    Fault(
        "SIGTERM, SIGUSR1, Ctrl-C",
        (
            "test_a_signal_saves_the_step_it_comes_in_and_the_run_goes_on_from_there",
            "test_a_signal_before_the_first_step_begins_nothing",
        ),
        "nothing: the step is saved, status 75 (130 for Ctrl-C)",
        "Lightning's: training ends after the step, no checkpoint",
        "Lightning's",
        "passed on to submitit, which puts the job back in the queue (`manager.py`)",
    ),
    Fault(
        "a NaN in an image, weights or gradients",
        (
            "test_an_image_that_is_not_finite_costs_its_step",
            "test_nothing_of_a_skipped_step_is_kept",
            "test_one_step_too_many_stops_the_run_at_its_last_good_checkpoint",
            "test_a_rate_that_explodes_stops_the_run",
        ),
        "that step; tensor, module and samples are reported, the batch is kept",
        "no check found in `solo/methods/base.py`",
        "the run ends with the epoch (`EarlyStopping(check_finite)` in `main.py`)",
        "no check found among the callbacks",
    ),
    Fault(
        "the disk is full",
        ("test_a_full_disk_gives_a_sentence_and_the_last_good_checkpoint_survives",),
        "steps since the last checkpoint; a sentence that says how to continue",
        "Lightning's traceback",
        "Lightning's traceback",
        "Lightning's traceback",
    ),
    Fault(
        "eight runs begin in one second",
        ("test_runs_started_in_the_same_second_get_folders_of_their_own",),
        "nothing: eight folders",
        "a folder by the logger's version (`checkpointer.py`)",
        "one folder: named by the second (`main.py`)",
        "a folder by a random number (`manager.py`)",
    ),
    Fault(
        "two simultaneous evaluations of one encoder",
        ("test_two_evaluations_of_one_encoder_at_once",),
        "nothing: two files with the same scores",
        "not applicable",
        "as above",
        "not applicable",
    ),
    Fault(
        "a logger that raises, hangs or is slow",
        (
            "test_a_dead_logger_is_told_once_and_training_goes_on",
            "test_a_logger_that_hangs_holds_up_nothing",
            "test_a_slow_logger_is_not_waited_for_until_the_end",
        ),
        "rows in that logger; `metrics.csv` has all",
        "called by the training loop",
        "called by the training loop",
        "called by the training loop",
    ),
    Fault(
        "private data in a logger",
        ("test_weights_and_biases_gets_no_path_name_or_key", "test_what_is_hidden_and_what_is_not"),
        "no path, host, user or key, unless asked",
        "all arguments, paths among them (`main_pretrain.py`)",
        "TensorBoard only, which stays on the machine",
        "the whole configuration, to every logger (`manager.py`)",
    ),
    Fault(
        "a checkpoint or weights with a pickle that runs code",
        (
            "test_checkpoints_with_code_in_them",
            "test_a_strangers_checkpoint_runs_nothing",
            "test_weights_that_are_a_pickle",
            "test_an_array_that_claims_to_be_larger_than_memory",
        ),
        "nothing is run: refused in a sentence",
        "`torch.load` with torch's default (`main_linear.py`)",
        "`torch.load(weights_only=False)`, which runs it (`main.py`)",
        "as the caller sets `weights_only` (`manager.py`)",
    ),
    Fault(
        "a configuration that names code or files",
        (
            "test_a_configuration_names_no_code_and_no_file",
            "test_a_strangers_run_calls_nothing",
            "test_deep_and_long_json",
        ),
        "nothing is called, loaded or fetched",
        "not applicable: arguments only",
        "not applicable: arguments only",
        "`hydra.utils.instantiate` calls what it names (`manager.py`)",
    ),
    Fault(
        "fuzzed images, arrays, parquet files, shards, weights and configurations",
        (
            "test_fuzzed_images_and_headers",
            "test_fuzzed_arrays",
            "test_fuzzed_parquet",
            "test_fuzzed_shards",
            "test_fuzzed_weights",
            "test_fuzzed_configurations_of_encoders",
        ),
        "the file: skipped and reported, or refused in a sentence",
        "PIL's exception ends the run",
        "PIL's exception ends the run",
        "as the given data set does",
    ),
    Fault(
        "decompression bombs, sparse members, paths that lead out of a shard",
        (
            "test_decompression_bombs",
            "test_rows_that_unpack_to_far_more_than_their_file",
            "test_zip_bombs_are_told_without_reading_them",
            "test_a_sparse_member_of_a_shard_is_not_blown_up",
            "test_names_in_a_shard_are_no_paths",
        ),
        "the file; memory stays under 2 GB, nothing is written",
        "PIL's limit",
        "PIL's limit",
        "PIL's limit",
    ),
)


def table(found: dict[str, list[Row]]) -> str:
    """The table in Markdown."""
    moments = Counter(kill["moment"] for row in found["kills"] for kill in row["kills"])
    lines = [
        "| fault | tried | lost | solo-learn | lightly | stable-pretraining |",
        "| --- | ---: | --- | --- | --- | --- |",
    ]
    for fault in FAULTS:
        times = sum(_times(name, moments, found) for name in fault.tried)
        cells = (fault.what, f"{times:,}", fault.lost, fault.solo, fault.lightly, fault.stable)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _times(name: str, moments: Counter[str], found: dict[str, list[Row]]) -> int:
    if name in moments:
        return moments[name]
    row = next(row for row in found["tests"] if row["test"] == name)
    if {"failed", "skipped"} & row.keys():
        raise SystemExit(f"{name} did not pass: {row}")
    return int(row["passed"]) * int(row.get("examples", 1))


def kills(found: dict[str, list[Row]]) -> str:
    """A row a method: its kills, and whether the run came out the same."""
    lines = ["| method | kills | most steps lost | came out different |", "| --- | ---: | ---: | --- |"]
    for row in found["kills"]:
        lost = max(kill["lost"] for kill in row["kills"])
        lines.append(
            f"| {row['method']} | {len(row['kills'])} | {lost} of {row['checkpoint_every']} allowed "
            f"| {', '.join(row['differences']) or 'nothing'} |"
        )
    return "\n".join(lines)


def cost(found: dict[str, list[Row]]) -> str:
    """A row a run: shares of its time."""
    lines = [
        "| run | a checkpoint a minute | size | takes | guard | check for finite values |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in found["cost"]:
        shares = row["shares"]
        lines.append(
            f"| {row['method']} | **{row['checkpoint_share']:.2%}** | {row['checkpoint_mib']:.0f} MiB "
            f"| {1000 * row['checkpoint_seconds']:.0f} ms | **{shares['guard']:.2%}** "
            f"| {shares['finite']:.2%} |"
        )
    return "\n".join(lines)
