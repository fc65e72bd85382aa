"""The first stage at full size: masked prediction of units and frame-wise alignment, on AV-HuBERT itself.

Masked prediction is AV-HuBERT's (Shi et al. 2022): tell the unit of each hidden frame from what is left of face, voice
or both. Alignment is of what SpeechForensics compares: the last layer's rows of picture alone and of sound alone.
Both tasks share one pass through the picture's convolutions, which cost most.
"""

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from engine.faces.mouth_crops import AVHUBERT_DEVIATION, AVHUBERT_MEAN
from engine.models.avhubert import AVHubert
from engine.training.avhubert.batches import PretrainingBatch
from engine.training.consistency.losses import AlignmentLoss, AlignmentWeights


@dataclass(frozen=True, slots=True)
class LossOptions:
    """What is learnt; a weight of 0 switches a part off."""

    masked: float = 1.0  # units of frames whose mouth or sound was hidden
    unmasked: float = 0.0  # units of the other frames
    alignment: float = 1.0  # frame against frame, picture alone against sound alone
    alignment_parts: AlignmentWeights = field(default_factory=AlignmentWeights)
    penalty: float = 10.0  # mean square of what enters the fusion
    inlet_gradient: float = 1.0  # share of the gradient that reaches what is before the fusion

    @property
    def predicts(self) -> bool:
        """Whether units are told at all."""
        return self.masked > 0 or self.unmasked > 0


class Pretraining(nn.Module):
    """The network with what only its training needs; `forward` gives the losses of a micro-batch."""

    def __init__(self, model: AVHubert, options: LossOptions):
        super().__init__()
        self.model, self.options = model, options
        self.alignment = AlignmentLoss(options.alignment_parts)
        unused: list[nn.Module] = [] if options.alignment else [self.alignment]
        unused += [] if options.predicts else [model.final_proj]
        for parameter in [one for module in unused for one in module.parameters()]:
            parameter.requires_grad_(False)
        model.label_embs_concat.requires_grad_(options.predicts)
        model.mask_emb.requires_grad_(options.predicts)

    def forward(self, batch: PretrainingBatch) -> dict[str, torch.Tensor]:
        """Give the weighted sum as `loss`, its parts by name, and as `hit` the share of hidden units told rightly."""
        valid = None if batch.valid.all() else batch.valid  # without a mask attention is quicker
        seen = self._ease(self.model.embed_video(self._show(batch), valid))
        heard = self._ease(self.model.embed_audio(self._hide(batch).transpose(1, 2)))
        squares = torch.stack([seen, heard]).float().square().mean((0, -1))  # (B, L)
        losses = {"penalty": _mean(squares, batch.valid)}
        fused: list[torch.Tensor] = []
        if self.options.predicts:
            fused.append(self.model.fuse(heard * _column(batch.has_rows), seen * _column(batch.has_mouths)))
        if self.options.alignment:
            other = self._ease(self.model.embed_audio(batch.other_rows.transpose(1, 2)))
            fused += [self.model.fuse(None, seen), self.model.fuse(other, None)]
        valid = None if valid is None else valid.repeat(len(fused), 1)
        hidden = list(self.model.contextualise(torch.cat(fused), valid).chunk(len(fused)))
        with torch.autocast(seen.device.type, enabled=False):  # logits and similarities are compared to the third digit
            if self.options.predicts:
                losses |= self._tell_units(hidden.pop(0).float(), batch)
            if self.options.alignment:
                losses["alignment"] = self._align(hidden[0].float(), hidden[1].float(), batch)
        losses["loss"] = sum(
            (getattr(self.options, name) * losses[name] for name in losses if name != "hit"), seen.new_zeros(())
        )
        return losses

    def _show(self, batch: PretrainingBatch) -> torch.Tensor:
        """(B, 1, L, 88, 88): the mouths as the network wants them, hidden ones replaced by others of the window."""
        mouths = batch.mouths
        if self.options.predicts:
            which = torch.arange(len(mouths), device=mouths.device)[:, None]
            mouths = mouths[which, batch.shown]
        return mouths.float().sub_(AVHUBERT_MEAN * 255).div_(AVHUBERT_DEVIATION * 255)[:, None]

    def _hide(self, batch: PretrainingBatch) -> torch.Tensor:
        """(B, L, 104): the rows of sound, hidden ones replaced by the learnt row."""
        return torch.where(batch.rows_masked[..., None], self.model.mask_emb, batch.rows)

    def _ease(self, x: torch.Tensor) -> torch.Tensor:
        share = self.options.inlet_gradient
        return x if share == 1 else x * share + x.detach() * (1 - share)

    def _tell_units(self, hidden: torch.Tensor, batch: PretrainingBatch) -> dict[str, torch.Tensor]:
        told = self.model.predict_units(hidden)
        loss = F.cross_entropy(told.transpose(1, 2), batch.units, reduction="none")  # (B, L)
        masked = (batch.mouths_masked | batch.rows_masked) & batch.real
        rest = batch.real & ~masked
        hit = ((told.argmax(-1) == batch.units) & masked).sum() / masked.sum().clamp(min=1)
        return {"masked": _mean(loss, masked), "unmasked": _mean(loss, rest), "hit": hit.detach()}

    def _align(self, seen: torch.Tensor, heard: torch.Tensor, batch: PretrainingBatch) -> torch.Tensor:
        """Frame t of the picture belongs to frame t - shift of the sound, where both are in the window."""
        length = seen.shape[1]
        partner = torch.arange(length, device=seen.device) - batch.shift[:, None]  # (B, L)
        real = batch.real & batch.valid & (partner >= 0) & (partner < length)
        if self.options.predicts:
            real = real & ~batch.mouths_masked
        heard = heard.gather(1, partner.clamp(0, length - 1)[..., None].expand_as(heard))
        ones = torch.ones_like(real, dtype=torch.float32)
        lips, speech = ((rows, F.normalize(rows, dim=-1), ones) for rows in (seen, heard))
        return self.alignment(lips, speech, real)


def _column(has: torch.Tensor) -> torch.Tensor:
    return has[:, None, None]


def _mean(loss: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    return (loss * where).sum() / where.sum().clamp(min=1)
