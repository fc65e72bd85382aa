"""AV-HuBERT: reference values, batches, chunks, half precision, training, files."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F  # noqa: N812

from engine.errors import WeightsDamaged
from engine.faces.mouth_crops import normalise_for_avhubert
from engine.models.avhubert import (
    CHUNKS_AT_ONCE,
    CONFIGS,
    CONTEXT,
    FRAMES_AT_ONCE,
    HEADS,
    STEM_REACH,
    AVHubert,
    AVHubertConfig,
    config_of,
    load_avhubert,
    plan_windows,
    rename_checkpoint,
)
from tests.formula import Shapes, cut_layers, fill_inputs, fill_network, fill_state, read_shapes, shapes_of
from tests.make_goldens import EVERY, SHAPES

GOLDEN = Path(__file__).parents[2] / "goldens" / "avhubert.npz"
FULL = Path(__file__).parents[3] / ".." / "shared" / "golden"
TOLERANCE = 1e-4  # of the goldens
TINY = replace(CONFIGS["tiny"], shrink=1)  # as a published file of this size would be
NORM_FIRST = "encoder.norm_first"  # a key of ours that no published file has


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def published(golden: dict[str, np.ndarray]) -> dict[str, Shapes]:
    return read_shapes(golden[SHAPES].tobytes())


@pytest.fixture(scope="module")
def base2(published: dict[str, Shapes]) -> AVHubert:
    return fill_network(cut_layers(published["base12"], 2), norm_first=False)


@pytest.fixture(scope="module")
def large2(published: dict[str, Shapes]) -> AVHubert:
    return fill_network(cut_layers(published["large24"], 2))


@pytest.fixture(scope="module")
def tiny() -> AVHubert:
    """Weights of unit gain in every layer, so that attention and positions weigh as much as in a trained network."""
    return fill_network(shapes_of(TINY))


@torch.inference_mode()
def run(model: AVHubert, what: str) -> np.ndarray:
    """The golden's features: of the picture, the sound, or both with the sound cut to the picture."""
    video, audio = fill_inputs()
    inputs = {"video": (video, None), "audio": (None, audio), "av": (video, audio[..., : video.shape[2]])}
    return model(*inputs[what])[0].numpy()


def draw_clip(n_frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Mouths and rows that change smoothly, alike throughout and never the same."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:96, :96]
    phases = np.cumsum(rng.normal(0, 0.5, (n_frames, 2)), axis=0)
    waves = np.sin(x / 9 + phases[:, :1, None]) * np.cos(y / 7 + phases[:, 1:, None])
    noise = rng.normal(0, 1, (n_frames + 2, 104))
    rows = noise[:-2] + 2 * noise[1:-1] + noise[2:]
    rows = (rows - rows.mean(1, keepdims=True)) / rows.std(1, keepdims=True)
    return (127 + 100 * waves).astype(np.uint8), rows.astype(np.float32)


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return F.cosine_similarity(torch.from_numpy(first), torch.from_numpy(second)).numpy()


def nearest(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each row the index of the other that is most alike."""
    return np.asarray((rows @ others.T / np.linalg.norm(others, axis=1)).argmax(1))


@pytest.mark.parametrize("what", ["video", "audio"])
def test_base_with_norms_after_the_sums_equals_the_reference(
    base2: AVHubert, golden: dict[str, np.ndarray], what: str
) -> None:
    assert not base2.config.norm_first
    np.testing.assert_allclose(run(base2, what), golden[f"base2.{what}_features"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("what", ["video", "audio", "av"])
def test_large_with_norms_before_the_branches_equals_the_reference(
    large2: AVHubert, golden: dict[str, np.ndarray], what: str
) -> None:
    assert large2.config.norm_first
    name = f"large2.{what}_features"
    np.testing.assert_allclose(run(large2, what)[:: EVERY[name]], golden[name], rtol=0, atol=TOLERANCE)


@pytest.mark.skipif(not FULL.is_dir(), reason="the full reference values are not available")
@pytest.mark.parametrize(("tag", "n_layers"), [("base12", 2), ("large24", 2), ("base12", 12), ("large24", 24)])
def test_the_full_goldens_are_reproduced(tag: str, n_layers: int) -> None:
    shapes = read_shapes((FULL / SHAPES).read_bytes())[tag]
    model = fill_network(cut_layers(shapes, n_layers), norm_first=tag == "large24")
    size = tag.rstrip("0123456789")
    with np.load(FULL / "avhubert_golden.npz") as arrays:
        for what in ("video", "audio", "av"):
            wanted = arrays[f"{size}{n_layers}.{what}_features"]
            np.testing.assert_allclose(run(model, what), wanted, rtol=0, atol=TOLERANCE, err_msg=f"{tag} {what}")


@pytest.mark.parametrize(("tag", "size", "millions"), [("base12", "base", 103.3), ("large24", "large", 325.4)])
def test_every_published_key_has_its_place(published: dict[str, Shapes], tag: str, size: str, millions: float) -> None:
    official = {name: torch.empty(shape, device="meta") for name, shape in published[tag].items()}
    renamed, dropped = rename_checkpoint(official)
    assert not dropped and len(renamed) == len(official) + 1
    assert config_of(renamed) == CONFIGS[size]
    with torch.device("meta"):
        model = AVHubert(CONFIGS[size])
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == {
        name: tensor.shape for name, tensor in renamed.items()
    }
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_norm_placement_is_inferred_from_state_dict(tiny: AVHubert, tmp_path: Path) -> None:
    official = fill_state(shapes_of(TINY))
    features = {}
    for norm_first in (True, False):
        state, _ = rename_checkpoint(official, norm_first)
        assert config_of(state) == replace(TINY, norm_first=norm_first)
        save_file(state, tmp_path / "net.safetensors")
        features[norm_first] = run(load_avhubert(tmp_path / "net.safetensors"), "audio")
        again, _ = rename_checkpoint(state)  # already renamed: unchanged
        assert bool(again[NORM_FIRST]) == norm_first
    np.testing.assert_allclose(features[True], run(tiny, "audio"), rtol=0, atol=1e-5)
    assert cosines(features[True], features[False]).max() < 0.95


def test_a_fine_tuned_file_loses_its_decoder_and_keeps_the_network(tiny: AVHubert) -> None:
    official = fill_state(shapes_of(TINY))
    kept = {f"encoder.w2v_model.{name}": tensor for name, tensor in official.items() if name not in HEADS}
    mask = {"encoder.w2v_model.mask_emb": official["mask_emb"]}  # alone of the heads
    decoder = {"decoder.embed_tokens.weight": torch.ones(4, 2), "decoder.layers.0.fc1.weight": torch.ones(2, 2)}
    given = mask | kept | decoder
    before = set(given)
    state, dropped = rename_checkpoint(given)
    assert set(dropped) == set(mask) | set(decoder) and set(given) == before
    config = config_of(state)
    assert config == replace(TINY, n_clusters=0)
    model = AVHubert(config)
    model.load_state_dict(state, strict=True)
    np.testing.assert_allclose(run(model.eval(), "av"), run(tiny, "av"), rtol=0, atol=1e-6)


def test_heads_that_mask_features_are_dropped(tiny: AVHubert) -> None:
    official = fill_state(shapes_of(TINY)) | {"mask_emb": torch.ones(TINY.width)}
    state, dropped = rename_checkpoint(official)
    assert set(dropped) == set(HEADS) and config_of(state).n_clusters == 0


@pytest.mark.parametrize(
    ("prefix", "extra", "named"),
    [
        ("", "encoder.layers.0.gate.weight", "gate"),
        ("", "decoder.fc.weight", "decoder.fc"),  # no fine-tuned file: nothing may be a decoder
        ("encoder.w2v_model.", "encoder.proj.weight", "encoder.proj"),
        ("encoder.w2v_model.", "post_extract_proj.weight", "post_extract_proj"),  # twice, with and without the prefix
    ],
)
def test_keys_that_are_not_known_are_named(prefix: str, extra: str, named: str) -> None:
    state = {prefix + name: torch.empty(shape, device="meta") for name, shape in shapes_of(TINY).items()}
    with pytest.raises(ValueError, match=named):
        rename_checkpoint(state | {extra: torch.ones(3, 3)})


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"conv.weight": torch.ones(2, 2)},
        fill_state(shapes_of(TINY)) | {"label_embs_concat": torch.tensor(1.0)},
        fill_state(shapes_of(TINY)) | {"post_extract_proj.weight": torch.ones(65, 130)},
    ],
    ids=["nothing", "another net", "no list of units", "no whole number of heads"],
)
def test_another_network_is_refused(state: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match=r"AV-HuBERT|width"):
        rename_checkpoint(state)


def test_padded_clips_give_what_they_give_alone(tiny: AVHubert) -> None:
    torch.manual_seed(1)
    lengths = (40, 23, 70)
    valid = torch.arange(70)[None] < torch.tensor(lengths)[:, None]
    video, audio = torch.randn(3, 1, 70, 88, 88), torch.randn(3, 104, 70)
    dirty = video.masked_fill(~valid[:, None, :, None, None], float("nan"))
    with torch.inference_mode():
        batch = tiny(dirty, audio.masked_fill(~valid[:, None], float("nan")), valid)
        for row, length in enumerate(lengths):
            alone = tiny(video[row : row + 1, :, :length], audio[row : row + 1, :, :length])
            assert torch.allclose(batch[row, :length], alone[0], atol=1e-5, rtol=0)
        unmasked = tiny(video, audio)
    assert not torch.allclose(unmasked[1, :23], batch[1, :23], atol=0.05)


def test_both_modalities_missing_is_an_error(tiny: AVHubert) -> None:
    with pytest.raises(ValueError, match="wanted audio or video"):
        tiny(None, None)
    with pytest.raises(ValueError, match="both alike"):
        tiny(torch.zeros(1, 1, 3, 88, 88), torch.zeros(1, 104, 4))


def test_image_blocks_do_not_change_the_output(tiny: AVHubert) -> None:
    mouths, rows = draw_clip(2 * FRAMES_AT_ONCE + 7)
    seen, heard = tiny.features(mouths, rows[:-9], chunk=None)
    with torch.inference_mode():
        whole = tiny(torch.from_numpy(normalise_for_avhubert(mouths))[None, None], None)[0].numpy()
        sound = tiny(None, torch.from_numpy(rows[:-9]).T[None])[0].numpy()
    np.testing.assert_allclose(seen, whole, rtol=0, atol=1e-5)
    np.testing.assert_allclose(heard, sound, rtol=0, atol=1e-5)
    assert seen.dtype == heard.dtype == np.float32


@pytest.mark.parametrize("n_frames", [1, 300, 428, 429, 600, 601, 1999])
def test_windows_cover_a_clip_once(n_frames: int) -> None:
    windows = plan_windows(n_frames, 300)
    kept = [frame for _, part in windows for frame in range(n_frames)[part]]
    assert kept == list(range(n_frames))
    assert len({seen.stop - seen.start for seen, _ in windows}) == 1
    for seen, part in windows:
        assert seen.start <= max(0, part.start - CONTEXT) and seen.stop >= min(n_frames, part.stop + CONTEXT)
        assert seen.stop - seen.start <= 300 + 2 * CONTEXT
    assert plan_windows(n_frames, None) == [(slice(0, n_frames), slice(0, n_frames))]
    assert plan_windows(0, 300) == []


def test_without_attention_chunks_do_not_change_the_output() -> None:
    model = fill_network(shapes_of(TINY))
    for layer in model.encoder.layers:
        torch.nn.init.zeros_(layer.self_attn.out_proj.weight)  # type: ignore[union-attr, arg-type]
    clip = draw_clip(500)
    for chunked, whole in zip(model.features(*clip, chunk=100), model.features(*clip, chunk=None), strict=True):
        np.testing.assert_allclose(chunked, whole, rtol=0, atol=1e-5)  # the positions see all they would see
        assert (nearest(chunked, whole) == np.arange(500)).all()


def test_chunks_stay_close_to_the_whole(tiny: AVHubert) -> None:
    """These weights attend to all frames alike, the hardest case: a trained network looks mostly near by."""
    clip = draw_clip(600)
    for chunked, whole in zip(tiny.features(*clip, chunk=150), tiny.features(*clip, chunk=None), strict=True):
        assert cosines(chunked, whole).min() > 0.95 and np.median(cosines(chunked, whole)) > 0.98
        assert (nearest(chunked, whole) == np.arange(600)).all()  # though neighbours are nearly as much alike


def test_a_long_clip_passes_in_chunks(tiny: AVHubert, monkeypatch: pytest.MonkeyPatch) -> None:
    n_frames = 2000
    sizes: dict[str, set[tuple[int, ...]]] = {"frames": set(), "windows": set()}
    embed_video, contextualise = tiny.embed_video, tiny.contextualise

    def count_frames(video: torch.Tensor, valid: None = None) -> torch.Tensor:
        sizes["frames"].add(tuple(video.shape[:3]))
        return torch.zeros(1, video.shape[2], TINY.width)

    def count_windows(features: torch.Tensor) -> torch.Tensor:
        sizes["windows"].add(tuple(features.shape[:2]))
        return features

    monkeypatch.setattr(tiny, "embed_video", count_frames)
    monkeypatch.setattr(tiny, "contextualise", count_windows)
    seen, heard = tiny.features(
        np.zeros((n_frames, 96, 96), np.uint8), np.zeros((n_frames, 104), np.float32), chunk=100
    )
    assert embed_video != count_frames != contextualise
    assert len(seen) == len(heard) == n_frames
    assert max(frames for _, _, frames in sizes["frames"]) == FRAMES_AT_ONCE + 2 * STEM_REACH
    assert sizes["windows"] == {(CHUNKS_AT_ONCE, 100 + 2 * CONTEXT)}


def test_a_track_becomes_unit_rows_of_one_weight(tiny: AVHubert) -> None:
    mouths, rows = draw_clip(60)
    rows.flags.writeable = mouths.flags.writeable = False  # as in an observation
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoded = tiny.encode(mouths, rows)
    seen, heard = tiny.features(mouths, rows)
    assert encoded.start == 0 and encoded.lips.shape == (60, TINY.width)
    for unit, plain, weight in (
        (encoded.lips, seen, encoded.lips_weight),
        (encoded.speech, heard, encoded.speech_weight),
    ):
        np.testing.assert_allclose(unit, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-6)
        assert unit.dtype == weight.dtype == np.float32 and (weight == 1).all() and weight.shape == (60,)
    with pytest.raises(ValueError, match="differ in shape"):
        tiny.encode(mouths, rows[:-1])


def test_a_network_in_training_gives_no_features() -> None:
    with pytest.raises(ValueError, match="eval"):
        AVHubert(TINY).features(*draw_clip(2))


@pytest.mark.parametrize(("dtype", "least"), [(torch.float16, 0.99999), (torch.bfloat16, 0.999)])
def test_half_precision_keeps_the_directions(tiny: AVHubert, dtype: torch.dtype, least: float) -> None:
    halved = fill_network(shapes_of(TINY)).halve(dtype)
    kinds = {name: parameter.dtype for name, parameter in halved.named_parameters()}
    assert kinds["encoder.layers.0.fc1.weight"] == kinds["feature_extractor_video.proj.weight"] == dtype
    assert {kind for name, kind in kinds.items() if "norm" in name or "bn" in name} == {torch.float32}
    for what in ("video", "audio"):
        features = run(halved, what)
        assert features.dtype == np.float32 and cosines(features, run(tiny, what)).min() > least


@pytest.mark.parametrize("size", list(CONFIGS))
def test_every_parameter_learns(size: str) -> None:
    config = replace(CONFIGS[size], layers=1)
    torch.manual_seed(0)
    model = AVHubert(config).train()
    video, audio, masked = torch.randn(1, 1, 4, 88, 88), torch.randn(1, 104, 4), torch.arange(4) % 3 == 0
    features = model(video, torch.where(masked, model.mask_emb[:, None], audio))
    assert features.shape == (1, 4, config.width)
    logits = model.predict_units(features)
    assert logits.shape == (1, 4, config.n_clusters) and logits.abs().max() <= 10 + 1e-4  # cosines over 0.1
    F.cross_entropy(logits[0], torch.arange(4)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        # a constant added to every key does not change attention
        assert parameter.grad.any() or name.endswith("k_proj.bias"), name


def test_units_are_compared_by_cosine(tiny: AVHubert) -> None:
    features = torch.from_numpy(run(tiny, "audio"))[None]
    wanted = F.cosine_similarity(tiny.final_proj(features)[0, 3], tiny.label_embs_concat) / 0.1
    assert torch.allclose(tiny.predict_units(features)[0, 3], wanted, atol=1e-4)


@pytest.mark.parametrize("config", [CONFIGS["tiny"], replace(CONFIGS["tiny"], n_clusters=0, norm_first=False)])
def test_a_file_gives_back_the_network(tmp_path: Path, config: AVHubertConfig) -> None:
    torch.manual_seed(0)
    model = AVHubert(config).eval()
    state = {name: t.half().float() if t.is_floating_point() else t for name, t in model.state_dict().items()}
    model.load_state_dict(state)
    save_file({n: t.half() if t.is_floating_point() else t for n, t in state.items()}, tmp_path / "net.safetensors")
    loaded = load_avhubert(tmp_path / "net.safetensors")
    assert loaded.config == config and not loaded.training
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    elsewhere = load_avhubert(tmp_path / "net.safetensors", "meta")  # any device that is not the CPU
    assert elsewhere.post_extract_proj.weight.dtype == torch.float16
    np.testing.assert_allclose(run(loaded, "av"), run(model, "av"), rtol=0, atol=1e-5)


def test_files_that_do_not_hold_the_network_are_refused(tmp_path: Path) -> None:
    state = AVHubert(CONFIGS["tiny"]).state_dict()
    damaged = {
        "lacks one": {name: tensor for name, tensor in state.items() if name != "layer_norm.bias"},
        "has one more": state | {"more": torch.ones(1)},
        "other shape": state | {"layer_norm.bias": torch.ones(3)},
        "another net": {"weight": torch.ones(3)},
        "no pixel": state | {"feature_extractor_video.resnet.shrink_px": torch.tensor(0)},
    }
    for name, tensors in damaged.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
    (tmp_path / "text.safetensors").write_bytes(b"no tensors at all")
    for name in (*damaged, "text"):
        with pytest.raises(WeightsDamaged, match=name) as caught:
            load_avhubert(tmp_path / f"{name}.safetensors")
        assert "weights import" in caught.value.hint
