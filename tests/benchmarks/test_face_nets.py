import numpy as np
import pytest
import torch

from benchmarks import face_nets
from benchmarks.face_nets import draw_faces, print_networks
from engine.faces.landmarker import DETECTOR, MESH, SHAPES


@pytest.mark.parametrize(("name", "shape"), [(DETECTOR, (128, 128, 3)), (MESH, (256, 256, 3)), (SHAPES, (146, 2))])
def test_the_inputs_of_a_batch_differ_from_each_other(name: str, shape: tuple[int, ...]) -> None:
    values = draw_faces(name, 3)
    assert values.shape == (3, *shape)
    assert all(np.abs(values[i].astype(float) - values[i - 1]).max() > 0.01 for i in range(3))


def test_each_network_has_a_row_for_each_runtime_and_those_without_a_gpu_say_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(face_nets, "BATCHES", (1, 2))
    print_networks(1)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]
    measured = [row for row in rows if "CPU" in row[1]]
    assert [row[:3] for row in measured[:4]] == [
        ["detector", runtime, batch] for runtime in ("LiteRT, CPU", "PyTorch, CPU, float32") for batch in "12"
    ]
    assert {row[0] for row in measured} == {"detector", "mesh", "blendshapes"} and len(measured) == 12
    assert all(float(row[3]) >= float(row[4]) > 0 and float(row[6]) < 1e-2 for row in measured)
    missing = [row for row in rows if "CUDA" in row[1]]
    assert len(missing) == 6 and all("not measured (no GPU); run: `python -m benchmarks" in row[3] for row in missing)
