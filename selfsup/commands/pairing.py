"""``selfsup curate mode=pairs``: a table of pairs to answer yes or no, and what follows from the answers."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.curation.asking import known, next_pairs
from selfsup.data.pairs import Pairs, read_pairs
from selfsup.errors import UsageError
from selfsup.evaluation.intervals import auroc
from selfsup.files import write_text
from selfsup.report.kept import pairs_page
from selfsup.terminal import typed
from selfsup.text import as_text, shown

WORDS = {1: "yes", 0: "no", -1: ""}
NAMED = 5  # contradictions


def pairs(
    config: Mapping[str, Any], material: Any, draw: Any, edges: Path | None, asked: Path | None
) -> None:
    """Write the pairs that follow from the answers so far, and the next ones to ask about.

    Args:
        config: of the command.
        material: the images and their features (``selfsup.commands.curate.Material``).
        draw: for k-means.
        edges: the table of pairs that belong together; None where there are no answers.
        asked: the table to fill in, beside which its page is written; None to ask nothing more.

    Raises:
        UsageError: the answers are about other images or all missing, or too few pairs are left to ask about.
    """
    none = torch.zeros(0, dtype=torch.int64)
    answers = Pairs(none.view(0, 2), none, None) if edges is None else _answers(config, material)
    unit = F.normalize(material.x.float(), dim=1)
    new = (
        none.view(0, 2)
        if asked is None
        else next_pairs(unit, config["count"], draw, answers.ends, answers.same)
    )
    names = [as_text(material.source.name(i)) for i in range(len(material.source))]
    if edges is not None:
        _conclude(config, answers, _cosines(unit, answers.ends), names, edges)
    if asked is not None:
        ends = torch.cat([new, answers.ends])
        same = [*[-1] * len(new), *answers.same.tolist()]
        listed = zip(ends.tolist(), _cosines(unit, ends).tolist(), same, strict=True)
        rows = ((names[a], names[b], f"{cosine:.4f}", WORDS[answer]) for (a, b), cosine, answer in listed)
        write_text(asked, _table(("a", "b", "similarity", "same"), rows), overwrite=False, make_folders=True)
        _show(config, material, new, len(answers.ends), asked)


def _cosines(unit: Tensor, ends: Tensor) -> Tensor:
    return (unit[ends[:, 0]] * unit[ends[:, 1]]).sum(dim=1)


def _answers(config: Mapping[str, Any], material: Any) -> Pairs:
    """The answers so far, by positions among the images to choose from."""
    file = config["answers"]
    found = read_pairs(str(file), material.whole, material.test, "answers")
    where = f"'{shown(file)}' (answers)"
    if found.intra is not None:
        raise UsageError(f"{where} has kinds of pairs, which are for training; pass data.pairs={file} to it")
    if not bool((found.same >= 0).any()):
        raise UsageError(f"{where} has no answer yet; fill in its column 'same' with yes or no")
    place = torch.full((len(material.whole),), -1)
    place[material.pool] = torch.arange(len(material.pool))
    if len(away := found.ends[place[found.ends] < 0]):
        name = shown(material.whole.name(int(away[0])))
        raise UsageError(
            f"{where} is about '{name}', which is not among the {len(material.pool)} images to "
            "choose from; leave its pairs out, or choose from all images"
        )
    return Pairs(place[found.ends], found.same, None, found.elsewhere)


def _conclude(
    config: Mapping[str, Any], answers: Pairs, similarity: Tensor, names: list[str], edges: Path
) -> None:
    """Write the pairs that belong together, and say what the answers say."""
    same, follow = answers.same, config["follow"]
    found = known(answers.ends, same, len(names), follow)
    yes, no = (similarity[same == answer].tolist() for answer in (1, 0))
    print(f"answers: {len(yes):,} yes, {len(no):,} no, {int((same < 0).sum()):,} left empty")
    if answers.elsewhere:
        print(f"pairs with test images, which are left out: {answers.elsewhere:,}")
    if wrong := found.contradicted.tolist():
        named = ", ".join(f"'{shown(names[a])}' and '{shown(names[b])}'" for a, b in wrong[:NAMED])
        more = f", and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        print(f"no, although answers of yes connect them: {named}{more}; look at these answers again")
        if follow:
            print("of these groups only the pairs with a yes are taken")
    if yes and no:
        value, (low, high) = auroc(yes, no)
        print(
            f"the cosine tells yes from no with an AUROC of {value:.2f} [{low:.2f}, {high:.2f}], "
            "on these pairs"
        )
    if not yes:
        if config["count"] is None:
            raise UsageError("no pair belongs together by these answers; ask about more, with count=")
        return
    sizes = found.group.bincount()
    sizes = sizes[sizes > 1]
    print(f"yes connects {int(sizes.sum()):,} images in {len(sizes):,} groups of up to {int(sizes.max()):,}")
    rows = ((names[a], names[b]) for a, b in found.follow.tolist())
    write_text(edges, _table(("a", "b"), rows), overwrite=False, make_folders=True)
    bought = f", {len(found.follow) / len(yes):.1f} for each yes" if follow else ""
    print(f"{shown(edges)}: {len(found.follow):,} pairs that belong together{bought}. To learn from them:")
    given = [each for each in _of_data(config) if not each.startswith("data.pairs=")]
    print(f"  {typed('train', 'method=simclr', *given, f'data.pairs={edges}', 'positives=edges')}")


def _show(config: Mapping[str, Any], material: Any, new: Tensor, earlier: int, asked: Path) -> None:
    """Write the page of the pairs to ask about, and say what to do with them."""
    lines = [
        "chosen to reveal most pairs that belong together: by how likely a yes is, in the space of "
        f"{material.space}, and by how many images it would connect",
        f"{len(new.unique()):,} images, none in more than {int(new.flatten().bincount().max())} pairs",
    ]
    if earlier:
        lines.append(f"the table also holds the {earlier:,} pairs so far, below the new rows")
    page = asked.with_suffix(".html")
    write_text(page, pairs_page(shown(asked), lines, new, material.source), overwrite=False)
    for line in lines:
        print(line)
    print(
        f"{shown(asked)}: {len(new):,} pairs to answer; {shown(page)} shows them in the table's order. Then:"
    )
    encoder = [f"encoder={config['encoder']}"] if config["encoder"] else []
    out = [] if config["answers"] is None else [f"out={asked.stem}-edges.csv"]
    print(f"  {typed('curate', 'mode=pairs', *encoder, *_of_data(config), f'answers={asked}', *out)}")


def _of_data(config: Mapping[str, Any]) -> list[str]:
    return [each for each in config["overrides"] if each.startswith(("data=", "data."))]


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
