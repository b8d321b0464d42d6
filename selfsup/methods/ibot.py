"""iBOT and DINOv2: DINO, whose student also says what the teacher sees in patches that are hidden from it.

Zhou et al. 2022, "iBOT: Image BERT Pre-Training with Online Tokenizer", arXiv:2111.07832; Oquab et al. 2023,
"DINOv2: Learning Robust Visual Features without Supervision", arXiv:2304.07193.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightly.models.modules.heads import DINOProjectionHead
from torch import Tensor, nn

from selfsup.encoder import Encoder
from selfsup.errors import UsageError
from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output, by_size
from selfsup.methods.failures import ONE_PROTOTYPE, SAME_VIEW, TEACHER, UNIFORM_TEACHER
from selfsup.methods.masking import Masking
from selfsup.methods.parts import Centre, FrozenAtFirst, Teacher
from selfsup.methods.requirements import large_views, require_views
from selfsup.objectives import MASKS, dino, dino_center, floors, ibot, swav
from selfsup.objectives.distributed import world_size
from selfsup.optim import linear, part

STRATA = 4  # of the ratios of hidden patches in one batch


class IBOT(Method):
    """The teacher sees whole large views; the student small ones, and large ones of which some lose patches.

    DINOv2 is this with balanced targets, heads of their own for images and for patches, and KoLeo beside it
    (``auxiliary=[koleo]``). In iBOT's code the patches' centre is the mean of all patches; here, as in
    DINOv2's, it is that of the hidden ones, which alone pass the head.

    Args:
        head: ``hidden``, ``bottleneck`` and ``out`` (prototypes) widths, ``norm_last_layer``, ``batch_norm``
            as DINO's, and ``shared``, whether images and patches have one head.
        mask_share: of the large views, how many lose patches.
        mask_ratio: least and largest share of the patches that such a view loses.
        masking: how they are drawn, a name of :data:`selfsup.objectives.MASKS`.
        patch_weight: of the loss of patches beside that of images.
        student_temperature: of the student's softmax.
        teacher_temperature: of the teacher's: ``start``, ``end``, and ``warmup``, a share of the run.
        momentum: of the teacher: ``start``, ``end`` and ``lag``, along a cosine.
        centering: ``mean``, a running mean taken off the teacher's outputs, or ``sinkhorn``.
        center_momentum: of the running means.
        freeze_last_layer: share of the run in which the last layers are not updated.
    """

    failures = (TEACHER, SAME_VIEW, UNIFORM_TEACHER, ONE_PROTOTYPE)

    def __init__(
        self,
        *,
        head: Mapping[str, Any],
        mask_share: float,
        mask_ratio: Sequence[float],
        masking: str,
        patch_weight: float,
        student_temperature: float,
        teacher_temperature: Mapping[str, float],
        momentum: Mapping[str, float],
        centering: str,
        center_momentum: float,
        freeze_last_layer: float,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_views(self.views, 2, "ibot", "dino")
        self.large = large_views(self.views, "ibot")
        if centering not in ("mean", "sinkhorn"):
            raise UsageError(f"method.centering is mean or sinkhorn, got '{centering}'")
        side = max(self.views.sizes) // self.encoder.patch_size
        for ratio in mask_ratio:
            Masking(masking, ratio, (side, side), "ibot")  # refuses what hides nothing or all
        self.grid, self.mask_share, self.mask_ratio = (side, side), mask_share, mask_ratio
        self.sampler = MASKS[masking]
        self.balanced, self.patch_weight = centering == "sinkhorn", patch_weight
        self.token = nn.Parameter(torch.zeros(self.encoder.dim))
        self.head = self.make_head(head)
        self.patch_head = self.head if head["shared"] else self.make_head(head)
        self.teacher = Teacher(nn.ModuleList([self.encoder, self.head, self.patch_head]), momentum)
        self.center, self.patch_center = (Centre(head["out"], center_momentum) for _ in range(2))
        self.held = FrozenAtFirst(
            nn.ModuleList([self.head.last_layer, self.patch_head.last_layer]), freeze_last_layer
        )
        self.student_temperature, self.teacher_temperature = student_temperature, teacher_temperature

    def make_head(self, head: Mapping[str, Any]) -> DINOProjectionHead:
        """A head of DINO's with these settings."""
        return DINOProjectionHead(
            self.encoder.dim,
            head["hidden"],
            head["bottleneck"],
            head["out"],
            batch_norm=head["batch_norm"],
            norm_last_layer=head["norm_last_layer"],
        )

    def loss(self, batch: Batch) -> Output:
        large = torch.cat(list(batch.views[: self.large]))
        hidden, index, weight = self.hide(len(large), batch)
        with torch.no_grad():
            encoder, head, patch_head = self.learned()
            sequence = encoder.sequence(large)
            teacher = head(encoder.pool(sequence)).unflatten(0, (self.large, -1))
            patch_teacher = patch_head(self.patches(sequence, index))
        sequence = self.encoder.sequence(large, mask=hidden, token=self.token)
        small = [self.encoder(views) for views in by_size(batch.views[self.large :])]
        features = torch.cat([self.encoder.pool(sequence), *small])
        student = self.head(features).unflatten(0, (len(batch.views), -1))
        patch_student = self.patch_head(self.patches(sequence, index))

        temperature = self.temperature(batch)
        temperatures = self.student_temperature, temperature
        if self.balanced:
            images = swav(student, teacher, *temperatures)
            patches = ibot(patch_student, patch_teacher, weight, None, *temperatures)
        else:
            self.center.gather(dino_center(teacher))
            self.patch_center.gather(dino_center(patch_teacher.unsqueeze(0)))
            images = dino(student, teacher, self.center.value, *temperatures)
            patches = ibot(patch_student, patch_teacher, weight, self.patch_center.value, *temperatures)
        seen = {"images": images.detach(), "patches": patches.detach()}
        total = images + self.patch_weight * patches
        return Output(total, features.chunk(len(batch.views)), {**seen, "teacher_temperature": temperature})

    def learned(self) -> Any:
        """The teacher's encoder and its heads of images and of patches."""
        return self.teacher.module

    def hide(self, n: int, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """What is hidden of n large views ``(n, L)``, the indices of these patches ``(M,)`` among all of
        the views' patches, and their weights ``(M,)``."""
        masked = torch.randperm(n, generator=batch.generator)[: max(1, round(self.mask_share * n))]
        hidden = torch.zeros(n, self.grid[0] * self.grid[1], dtype=torch.bool)
        low, high = self.mask_ratio
        for stratum, views in enumerate(masked.chunk(STRATA)):
            share = (stratum + float(torch.rand((), generator=batch.generator))) / STRATA
            ratio = low + share * (high - low)
            hidden[views] = self.sampler(len(views), self.grid, ratio, batch.generator)[1]
        weight = hidden / (hidden.sum(1, keepdim=True).clamp(min=1) * n * world_size())
        index = hidden.flatten().nonzero().squeeze(1)
        return hidden.to(batch.device), index.to(batch.device), weight.flatten()[index].to(batch.device)

    def patches(self, sequence: Tensor, index: Tensor) -> Tensor:
        """Tokens ``(M, D)`` of the patches ``index`` of all images of a sequence."""
        return sequence[:, self.encoder.prefix :].flatten(0, 1).index_select(0, index)

    def temperature(self, batch: Batch) -> float:
        """Of the teacher, at this step."""
        warm = self.teacher_temperature
        steps = part(warm["warmup"], batch.steps)
        return linear(batch.step, steps, warm["start"], warm["end"]) if steps else warm["end"]

    def regions(self, batch: Batch) -> dict[str, Tensor]:
        if self.large < len(batch.views):
            return {}  # small views have fewer patches
        return {"hidden": self.hide(self.large * len(batch), batch)[0]}

    def learned_encoder(self) -> Encoder:
        encoder = self.teacher.copy_of(self.encoder)
        assert isinstance(encoder, Encoder)
        return encoder

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        encoder, head, _ = self.learned()
        features = encoder(batch.views[0])
        teacher = head(features).float() - self.center.value
        student = self.head(self.encoder(batch.views[0])).float()
        return {
            "backbone": features,
            "embedding": student,
            "teacher": (teacher / self.temperature(batch)).softmax(dim=-1),
            "student": (student / self.student_temperature).softmax(dim=-1),
        }

    def marks(self) -> dict[str, float]:
        # Views that hide nothing count as 0 in the loss of patches.
        return {"trivial": floors.ibot(len(self.center.value)) * (1 + self.patch_weight * self.mask_share)}
