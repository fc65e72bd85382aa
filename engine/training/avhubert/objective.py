"""Loss of the first stage at full size: masked prediction of units and frame-wise alignment on AV-HuBERT.

Masked prediction is that of AV-HuBERT (Shi et al. 2022): predict the unit of each masked frame from the rest of face,
voice or both. Alignment uses what SpeechForensics compares: last-layer features of images alone and of audio alone.
Both tasks share one pass through the visual front end, which is the largest cost.
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
    """Loss weights; 0 switches a term off."""

    masked: float = 1.0  # units of frames with masked mouth or audio
    unmasked: float = 0.0  # units of the other frames
    alignment: float = 1.0  # frame-wise, images alone against audio alone
    alignment_parts: AlignmentWeights = field(default_factory=AlignmentWeights)
    penalty: float = 10.0  # mean square of the features before fusion
    inlet_gradient: float = 1.0  # factor on the gradient before the fusion

    @property
    def predicts(self) -> bool:
        """Whether units are predicted."""
        return self.masked > 0 or self.unmasked > 0


class Pretraining(nn.Module):
    """The network with its training heads; `forward` returns the losses of a micro-batch."""

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
        """Return the weighted sum as `loss`, its terms by name, and `hit`, the accuracy on masked units."""
        valid = None if batch.valid.all() else batch.valid  # attention without a mask is faster
        video = self._scale_gradient(self.model.embed_video(self._replace_mouths(batch), valid))
        audio = self._scale_gradient(self.model.embed_audio(self._mask_audio(batch).transpose(1, 2)))
        squares = torch.stack([video, audio]).float().square().mean((0, -1))  # (B, L)
        losses = {"penalty": _mean(squares, batch.valid)}
        fused: list[torch.Tensor] = []
        if self.options.predicts:
            fused.append(self.model.fuse(audio * _column(batch.has_rows), video * _column(batch.has_mouths)))
        if self.options.alignment:
            other = self._scale_gradient(self.model.embed_audio(batch.other_rows.transpose(1, 2)))
            fused += [self.model.fuse(None, video), self.model.fuse(other, None)]
        valid = None if valid is None else valid.repeat(len(fused), 1)
        hidden = list(self.model.contextualise(torch.cat(fused), valid).chunk(len(fused)))
        with torch.autocast(video.device.type, enabled=False):  # logits and similarities need float32 precision
            if self.options.predicts:
                losses |= self._predict_units(hidden.pop(0).float(), batch)
            if self.options.alignment:
                losses["alignment"] = self._align(hidden[0].float(), hidden[1].float(), batch)
        losses["loss"] = sum(
            (getattr(self.options, name) * losses[name] for name in losses if name != "hit"), video.new_zeros(())
        )
        return losses

    def _replace_mouths(self, batch: PretrainingBatch) -> torch.Tensor:
        """Return (B, 1, L, 88, 88): normalised mouths, masked ones replaced by others of the window."""
        mouths = batch.mouths
        if self.options.predicts:
            which = torch.arange(len(mouths), device=mouths.device)[:, None]
            mouths = mouths[which, batch.shown]
        return mouths.float().sub_(AVHUBERT_MEAN * 255).div_(AVHUBERT_DEVIATION * 255)[:, None]

    def _mask_audio(self, batch: PretrainingBatch) -> torch.Tensor:
        """Return (B, L, 104): audio features, masked ones replaced by the learnt vector."""
        return torch.where(batch.rows_masked[..., None], self.model.mask_emb, batch.rows)

    def _scale_gradient(self, x: torch.Tensor) -> torch.Tensor:
        share = self.options.inlet_gradient
        return x if share == 1 else x * share + x.detach() * (1 - share)

    def _predict_units(self, hidden: torch.Tensor, batch: PretrainingBatch) -> dict[str, torch.Tensor]:
        logits = self.model.predict_units(hidden)
        loss = F.cross_entropy(logits.transpose(1, 2), batch.units, reduction="none")  # (B, L)
        masked = (batch.mouths_masked | batch.rows_masked) & batch.real
        rest = batch.real & ~masked
        hit = ((logits.argmax(-1) == batch.units) & masked).sum() / masked.sum().clamp(min=1)
        return {"masked": _mean(loss, masked), "unmasked": _mean(loss, rest), "hit": hit.detach()}

    def _align(self, video: torch.Tensor, audio: torch.Tensor, batch: PretrainingBatch) -> torch.Tensor:
        """Align image frame t with audio frame t - shift, if both are in the window."""
        length = video.shape[1]
        partner = torch.arange(length, device=video.device) - batch.shift[:, None]  # (B, L)
        real = batch.real & batch.valid & (partner >= 0) & (partner < length)
        if self.options.predicts:
            real = real & ~batch.mouths_masked
        audio = audio.gather(1, partner.clamp(0, length - 1)[..., None].expand_as(audio))
        ones = torch.ones_like(real, dtype=torch.float32)
        lips, speech = ((rows, F.normalize(rows, dim=-1), ones) for rows in (video, audio))
        return self.alignment(lips, speech, real)


def _column(has: torch.Tensor) -> torch.Tensor:
    return has[:, None, None]


def _mean(loss: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    return (loss * where).sum() / where.sum().clamp(min=1)
