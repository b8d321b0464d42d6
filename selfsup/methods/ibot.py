"""iBOT and DINOv2: DINO, whose student also says what the teacher sees in patches that are hidden from it.

Zhou et al. 2022, "iBOT: Image BERT Pre-Training with Online Tokenizer", arXiv:2111.07832; Oquab et al. 2023,
"DINOv2: Learning Robust Visual Features without Supervision", arXiv:2304.07193.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from selfsup.methods.batch import Batch, Output, by_size
from selfsup.methods.dino import DINO
from selfsup.methods.masking import Masking
from selfsup.methods.parts import Centre, FrozenAtFirst, Teacher
from selfsup.objectives import MASKS, dino, dino_center, floors, ibot, swav
from selfsup.objectives.devices import sent
from selfsup.objectives.distributed import world_size

STRATA = 4  # of the ratios of hidden patches in one batch


class IBOT(DINO):
    """DINO, whose student also predicts what the teacher says of patches that some of its large views lose.

    DINOv2 is this with balanced targets, a head of its own for patches, and KoLeo beside it
    (``auxiliary=[koleo]``). In iBOT's code the patches' centre is the mean of all patches; here, as in
    DINOv2's, it is that of the hidden ones, which alone pass the head.

    Args:
        head: as DINO's, and ``shared``, whether patches have the head of images or one like it.
        mask_share: of the large views, how many lose patches.
        mask_ratio: least and largest share of the patches that such a view loses.
        masking: how they are drawn, a name of :data:`selfsup.objectives.MASKS`.
        patch_weight: of the loss of patches beside that of images.
        momentum, center_momentum, freeze_last_layer, settings: as DINO's.
    """

    def __init__(
        self,
        *,
        head: Mapping[str, Any],
        mask_share: float,
        mask_ratio: Sequence[float],
        masking: str,
        patch_weight: float,
        momentum: Mapping[str, float],
        center_momentum: float,
        freeze_last_layer: float,
        **settings: Any,
    ) -> None:
        super().__init__(
            head=head,
            momentum=momentum,
            center_momentum=center_momentum,
            freeze_last_layer=freeze_last_layer,
            **settings,
        )
        grid = self.encoder.grid_of(max(self.views.sizes))
        for ratio in mask_ratio:
            Masking(masking, ratio, grid, "ibot")  # refuses what hides nothing or all
        self.grid, self.sampler = grid, MASKS[masking]
        self.mask_share, self.mask_ratio, self.patch_weight = mask_share, mask_ratio, patch_weight
        self.token = nn.Parameter(torch.zeros(self.encoder.dim))
        self.patch_center = Centre(head["out"], center_momentum)
        self.patch_head, self.patch_teacher = self.head, None
        if not head["shared"]:
            self.patch_head = self.make_head(head)
            self.patch_teacher = Teacher(self.patch_head, momentum)
            self.patch_held = FrozenAtFirst(self.patch_head.last_layer, freeze_last_layer)

    def loss(self, batch: Batch) -> Output:
        large = torch.cat(list(batch.views[: self.large]))
        hidden, index, weight = self.hide(len(large), batch)
        teacher, patch_teacher = self.answer(large, index)
        sequence = self.encoder.sequence(large, mask=hidden, token=self.token)
        small = [self.encoder(views) for views in by_size(batch.views[self.large :])]
        features = torch.cat([self.encoder.pool(sequence), *small])
        student = self.head(features).unflatten(0, (len(batch.views), -1))
        patch_student = self.patch_head(self.patches(sequence, index))

        temperature = self.temperature(batch)
        temperatures = self.student_temperature, temperature
        if self.centering == "sinkhorn":
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

    @torch.no_grad()
    def answer(self, large: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's logits of whole large views ``(G, N, K)`` and of the patches ``index`` ``(M, K)``."""
        _, head = self.teacher.module.children()
        patch_head = head if self.patch_teacher is None else self.patch_teacher.module
        encoder = self.learned_encoder()
        sequence = encoder.sequence(large)
        teacher = head(encoder.pool(sequence)).unflatten(0, (self.large, -1))
        return teacher, patch_head(self.patches(sequence, index))

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
        weight = weight.flatten()[index]
        return sent(hidden, batch.device), sent(index, batch.device), sent(weight, batch.device)

    def patches(self, sequence: Tensor, index: Tensor) -> Tensor:
        """Tokens ``(M, D)`` of the patches ``index`` of all images of a sequence."""
        return sequence[:, self.encoder.prefix :].flatten(0, 1).index_select(0, index)

    def regions(self, batch: Batch) -> dict[str, Tensor]:
        if self.large < len(batch.views):
            return {}  # small views have fewer patches
        return {"hidden": self.hide(self.large * len(batch), batch)[0]}

    def marks(self) -> dict[str, float]:
        # Views that hide nothing count as 0 in the loss of patches.
        return {"trivial": floors.ibot(len(self.center.value)) * (1 + self.patch_weight * self.mask_share)}
