"""The mathematics of the methods: pure functions of tensors that are right on one process or many.

Every objective computes in at least float32 whatever the autocast state, and is world-size invariant: see
`selfsup.objectives.distributed` for what that means and how it holds.
"""

from selfsup.objectives import floors
from selfsup.objectives.classification import (
    cross_entropy,
    diet,
    look,
    relation_pairs,
    relational,
    view_batch,
)
from selfsup.objectives.context_masks import block_masks, default_context_size, target_shapes
from selfsup.objectives.contrastive import dcl, moco, moco_v3, nnclr, nt_xent
from selfsup.objectives.distillation import dino, dino_center, msn, sinkhorn, swav
from selfsup.objectives.distributed import all_reduce_mean, all_reduce_sum, gather_with_gradient
from selfsup.objectives.graph import spectral_contrastive, triplet
from selfsup.objectives.masks import (
    MASKS,
    blockwise_mask,
    connected_mask,
    inverse_block_mask,
    random_mask,
    window_mask,
)
from selfsup.objectives.matching import hungarian, matched_cells
from selfsup.objectives.prediction import byol, simsiam
from selfsup.objectives.reconstruction import latent_prediction, masked_reconstruction, patchify, unpatchify
from selfsup.objectives.redundancy import barlow_twins, mixed_barlow, tico, tico_moment, vicreg
from selfsup.objectives.relations import ressl, same_class, sup_con
from selfsup.objectives.spectral import frossl, mmcr
from selfsup.objectives.spread import koleo, lejepa, sigreg
from selfsup.objectives.tokens import capi, data2vec, data2vec_targets, ibot, semantic_order
from selfsup.objectives.transfer import distill_layer, distill_relations, distill_tokens
from selfsup.objectives.transforms import sla_aggregate, sla_distill, sla_joint

__all__ = [
    "MASKS",
    "all_reduce_mean",
    "all_reduce_sum",
    "barlow_twins",
    "block_masks",
    "blockwise_mask",
    "byol",
    "capi",
    "connected_mask",
    "cross_entropy",
    "data2vec",
    "data2vec_targets",
    "dcl",
    "default_context_size",
    "diet",
    "dino",
    "dino_center",
    "distill_layer",
    "distill_relations",
    "distill_tokens",
    "floors",
    "frossl",
    "gather_with_gradient",
    "hungarian",
    "ibot",
    "inverse_block_mask",
    "koleo",
    "latent_prediction",
    "lejepa",
    "look",
    "masked_reconstruction",
    "matched_cells",
    "mixed_barlow",
    "mmcr",
    "moco",
    "moco_v3",
    "msn",
    "nnclr",
    "nt_xent",
    "patchify",
    "random_mask",
    "relation_pairs",
    "relational",
    "ressl",
    "same_class",
    "semantic_order",
    "sigreg",
    "simsiam",
    "sinkhorn",
    "sla_aggregate",
    "sla_distill",
    "sla_joint",
    "spectral_contrastive",
    "sup_con",
    "swav",
    "target_shapes",
    "tico",
    "tico_moment",
    "triplet",
    "unpatchify",
    "vicreg",
    "view_batch",
    "window_mask",
]
