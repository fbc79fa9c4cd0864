"""Running networks: mirror images, tiles where memory does not suffice, and the other architecture."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from brainseg.models.networks import inference, zoo
from brainseg.models.networks.coarse_to_fine import CoarseToFine


class Local(nn.Module):
    """Sees only neighbors, so that tiles must give what the whole gives; is as the first coordinate says."""

    stride = 4

    def __init__(self, room: int = 10**9) -> None:
        super().__init__()
        self.room, self.calls = room, []
        torch.manual_seed(0)
        self.kernel = torch.randn(3, 4, 3, 3, 3) * 0.3

    def forward(self, x, prior=None):
        self.calls.append(tuple(x.shape[2:]))
        if x[0, 0].numel() > self.room:
            raise torch.OutOfMemoryError("out of memory")
        full = F.conv3d(x.float(), self.kernel, padding=1)
        if prior is not None:
            full = full + F.interpolate(prior.float(), scale_factor=2)
        return {"structure": (full, full)}


@pytest.fixture
def scan():
    torch.manual_seed(1)
    shape = (16, 48, 12)
    grid = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij"))
    return torch.rand(shape), grid, torch.rand(3, 8, 24, 6)


@pytest.fixture
def small_device(monkeypatch):
    """A device whose memory is that of the network's ``room``."""
    monkeypatch.setattr(inference, "precision", lambda device: torch.float32)
    move = torch.Tensor.to
    monkeypatch.setattr(
        torch.Tensor, "to", lambda x, *a, **k: x if a[:1] == ("cuda:0",) else move(x, *a, **k)
    )
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch, "autocast", lambda *a, **k: torch.no_grad())
    return "cuda:0"


@pytest.mark.parametrize(("room", "tiles"), [(16 * 32 * 12, 2), (16 * 28 * 12, 4)])
def test_tiles_give_what_the_whole_gives_and_say_so(scan, small_device, room, tiles):
    image, grid, prior = scan
    notes = []
    whole = inference.run(Local(), image, grid, prior, small_device, notes=notes)["structure"]
    assert notes == []
    small = Local(room)
    found = inference.run(small, image, grid, prior, small_device, notes=notes)["structure"]
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)
    assert notes == [f"The network ran in {tiles} tiles: the memory of the device cuda:0 was too small."]
    # who has no place for notes gets the result all the same
    silent = inference.run(Local(room), image, grid, prior, small_device)["structure"]
    torch.testing.assert_close(silent, found)
    with pytest.raises(torch.OutOfMemoryError):
        inference.run(Local(10), image, grid, prior, small_device, notes=notes)


def test_mirror_images_are_averaged(scan):
    image, grid, prior = scan
    network = Local()
    found = inference.posteriors(network, image, grid, prior, mirrored=1)
    assert len(network.calls) == 2
    torch.testing.assert_close(found.sum(0), torch.ones(image.shape))
    # the mirror image of a scan has the mirror image of its posteriors
    turn = torch.tensor([-1.0, 1.0, 1.0]).view(3, 1, 1, 1)
    other = inference.posteriors(network, image.flip(0), grid.flip(1) * turn, prior.flip(1), mirrored=1)
    torch.testing.assert_close(other.flip(1), found, rtol=1e-4, atol=1e-5)
    once = inference.posteriors(network, image, grid, prior)
    assert float((once - found).abs().max()) > 1e-3


def test_the_last_pass_alone_is_averaged(scan):
    image, grid, prior = scan
    network = Local()
    found = inference.posteriors(network, image, grid, prior, passes=2, mirrored=1)
    assert len(network.calls) == 3
    first = inference.as_prior(inference.posteriors(network, image, grid, prior)[None])[0]
    torch.testing.assert_close(found, inference.posteriors(network, image, grid, first, mirrored=1))
    network.calls.clear()
    inference.posteriors(network, image, grid, prior, passes=2, mirrored=9)
    assert len(network.calls) == 4


def test_a_second_look_begins_from_the_first(scan):
    image, grid, prior = scan
    network = Local()
    first = inference.posteriors(network, image, grid, prior)
    found = inference.posteriors(network, image, grid, prior, passes=2)
    given = inference.as_prior(first[None])[0]
    assert given.shape == prior.shape
    torch.testing.assert_close(given.sum(0), torch.ones(given.shape[1:]))
    torch.testing.assert_close(found, inference.posteriors(network, image, grid, given))
    assert float((found - first).abs().max()) > 1e-3


@pytest.mark.parametrize("prior", [0, 19])
def test_coarse_to_fine_network(tmp_path, prior):
    arguments = {"inputs": 4, "channels": [4, 6, 8], "prior": prior}
    network = CoarseToFine(**arguments)
    x = torch.rand(1, 4, 8, 12, 16)
    given = torch.rand(1, 19, 4, 6, 8).softmax(1) if prior else None
    out = network(x, given)
    assert network.stride == 4
    assert [t.shape for t in out["structure"]] == [(1, 19, 8, 12, 16), (1, 19, 4, 6, 8)]
    assert [t.shape for t in out["tissue"]] == [(1, 6, 8, 12, 16), (1, 6, 4, 6, 8)]
    # the fine decoder sees the coarse logits
    out["structure"][0].sum().backward()
    assert float(network.heads["tissue"][0].weight.grad.abs().sum()) > 0
    card = {"name": "c2f", "architecture": {"class": "CoarseToFine", "arguments": arguments}}
    again = zoo.load(str(zoo.save(tmp_path, network.state_dict(), card))).network
    torch.testing.assert_close(again(x, given)["structure"][0], out["structure"][0], rtol=0.05, atol=0.05)


def test_the_published_size():
    with torch.device("meta"):
        count = sum(p.numel() for p in CoarseToFine(inputs=1, structures=30).parameters())
    assert 5e6 < count < 9e6


@pytest.fixture
def half_a_device(monkeypatch):
    """A graphics card, computed by the CPU, that holds no whole grid; it says what did not fit."""
    sizes = {}
    whole, load = inference._whole, zoo.load_once

    def limited(network, x, prior, device, tasks):
        # what a network sees first is a whole grid; the fetal 48^3 are too few voxels to be cut
        room = sizes.setdefault(id(network), x[0, 0].numel())
        if device != "cpu" and x[0, 0].numel() >= room > 48**3:
            raise RuntimeError("MPS backend out of memory")
        return whole(network, x, prior, "cpu", tasks)

    monkeypatch.setattr(inference, "_whole", limited)
    monkeypatch.setattr(zoo, "load_once", lambda name, device="cpu": load(name, "cpu"))
    return "mps"


@pytest.mark.slow
@pytest.mark.parametrize("population", ["adult", "fetal"])
def test_every_network_is_used_in_tiles_where_memory_does_not_suffice(scans, half_a_device, population):
    from brainseg.models.segmentation import segmentation, skullstrip

    scan = scans.resampled(scans.template(), (2.5, 2.5, 2.5))
    mode = "force" if population == "adult" else "skip"
    found = skullstrip.skullstrip(scan, population, mode=mode, device=half_a_device)
    assert population == "fetal" or [note for note in found.notes if "2 tiles" in note]
    again = segmentation.segment(scan, found.mask, population, device=half_a_device, likelihood=False)
    assert [note for note in again.notes if "2 tiles" in note]


def test_probabilities_are_the_same_on_any_number_of_threads():
    logits = torch.randn(19, 21, 23, 17)
    last = logits[None].to(memory_format=torch.channels_last_3d)[0]
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found += [inference.probabilities(logits), inference.probabilities(last)]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, found[0]) for one in found) and found[0].is_contiguous()
    assert torch.allclose(found[0], logits.softmax(0), atol=1e-6)
