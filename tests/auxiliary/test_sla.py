"""SLA beside a method: its three losses by hand, its two ways to classify, and that it asks for labels."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from selfsup.build import count_classes
from selfsup.commands import main
from selfsup.data import ImageArray
from selfsup.errors import UsageError
from selfsup.from_labels import labels_used_by
from tests.methods.building import SMALL, batch_of, build, composed, images

SLA = ("method=simclr", "auxiliary=[sla]", "views.each.turn=whole")


def made(*settings: str) -> Any:
    return build(*SLA, "views.each.count=3", "batch_size=5", *settings).eval()


def test_it_is_the_joint_loss_and_that_of_the_second_head() -> None:
    method = made("auxiliary.sla.distill=0.7", "auxiliary.sla.temperature=2.0")
    module, batch = method.auxiliary["sla"], batch_of(method)
    assert module.joint.out_features == 5 * 4
    features = [method.encoder(view).detach() for view in batch.views]
    turns = [batch.drawn(k)["turn"].tolist() for k in range(3)]
    joint, alone = [], []
    for n, label in enumerate(batch.labels.tolist()):
        logits = [module.joint(features[k][n]) for k in range(3)]
        together = torch.stack(
            [sum(logits[k][4 * c + turns[k][n]] for k in range(3)) / 3 for c in range(5)]
        ).detach()
        for k in range(3):
            joint.append(-logits[k].log_softmax(0)[4 * label + turns[k][n]])
            if turns[k][n] == 0:
                single = module.single(features[k][n])
                told = (together / 2).softmax(0)
                away = (told * (told.log() - (single / 2).log_softmax(0))).sum()
                alone.append(-single.log_softmax(0)[label] + 4 * away)
    assert 0 < len(alone) < 24
    expected = torch.stack(joint).mean() + 0.7 * torch.stack(alone).mean()
    torch.testing.assert_close(module(batch, features), expected)


def test_a_batch_without_an_upright_view_still_has_a_loss() -> None:
    method = made()
    module, batch = method.auxiliary["sla"], batch_of(method)
    features = [method.encoder(view) for view in batch.views]
    object.__setattr__(batch, "drawn", lambda k: {"turn": torch.full((8,), 2)})
    loss = module(batch, features)
    alone = build(*SLA, "batch_size=5", "auxiliary.sla.distill=0").auxiliary["sla"]
    alone.load_state_dict(module.state_dict(), strict=False)
    torch.testing.assert_close(loss, alone(batch, features))
    assert alone.single is None
    (gradient,) = torch.autograd.grad(loss, module.single.weight)
    assert not gradient.any()


def test_it_classifies_by_four_turns_together_or_by_one_pass() -> None:
    method = made()
    module, encoder = method.auxiliary["sla"], method.encoder
    pictures = torch.randn(6, 3, 24, 24)
    rows = []
    for picture in pictures:
        turned = [module.joint(encoder(picture.rot90(r, (1, 2))[None]))[0] for r in range(4)]
        rows.append(torch.stack([sum(turned[r][4 * c + r] for r in range(4)) / 4 for c in range(5)]))
    torch.testing.assert_close(module.classify(encoder, pictures), torch.stack(rows).detach())
    one_pass = module.classify(encoder, pictures, together=False)
    torch.testing.assert_close(one_pass, module.single(encoder(pictures)).detach())
    without = build(*SLA, "auxiliary.sla.distill=0").auxiliary["sla"]
    with pytest.raises(ValueError, match="no second head"):
        without.classify(encoder, pictures, together=False)


def test_a_few_steps_learn_the_joint_labels() -> None:
    """Bright and dark halves: class and turn can be told, and both heads come to tell the class."""
    method = build(*SLA, "batch_size=2", "data.min_area=1", "views.each.count=4").eval()
    module, labels = method.auxiliary["sla"], torch.arange(16) % 2
    pictures = torch.zeros(16, 3, 8, 8, dtype=torch.uint8)
    pictures[:, :, :3], pictures[labels == 1, :, 3:] = 250, 120
    optimizer = torch.optim.Adam([*module.parameters(), *method.encoder.parameters()], lr=3e-3)
    for epoch in range(40):
        batch = batch_of(method, 16, image=pictures, label=labels, epoch=epoch)
        loss = module(batch, [method.encoder(view) for view in batch.views])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    upright = F.interpolate(pictures.float() / 255, 24)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (method.encoder.mean, method.encoder.std))
    for together in (True, False):
        told = module.classify(method.encoder, (upright - mean) / std, together)
        assert (told.argmax(1) == labels).all()


def test_it_counts_classes_and_refuses_data_without_labels() -> None:
    config = composed(*SLA)
    count_classes(config, ImageArray(images(5), torch.tensor([0, 3, 1, 1, 0])))
    assert config["auxiliary"]["sla"]["classes"] == 4
    with pytest.raises(
        UsageError, match="auxiliary=sla learns from labels, and the training images have none"
    ):
        count_classes(config, ImageArray(images(5)))


def test_the_encoders_card_says_that_it_learned_from_labels() -> None:
    assert labels_used_by(composed(*SLA)) == ["auxiliary=sla"]


def test_others_get_no_labels() -> None:
    for settings, there in ((SLA, True), (("method=simclr", "auxiliary=[koleo]"), False)):
        assert (batch_of(build(*settings)).labels is not None) == there


def test_a_run_trains_and_is_resumed(tmp_path: Path) -> None:
    quick = (
        "evaluate=false",
        "report=false",
        "online=none",
        "guard.enabled=false",
        "trainer.accelerator=cpu",
    )
    run = (f"out={tmp_path}", "name=run", "trainer.max_steps=2", *quick, *SMALL)
    assert main(["train", *SLA, *run]) == 0
    assert main(["train", f"resume={tmp_path / 'run'}", "trainer.max_steps=3", "report=false"]) == 0
