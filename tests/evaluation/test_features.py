import pytest
import torch

from selfsup.evaluation import extract, pixels
from selfsup.evaluation.features.extract import one_channel
from selfsup.evaluation.features.images import fit
from tests.evaluation.toys import OnDemand, ToyEncoder, coloured


def features(encoder, source, **settings):
    return extract(encoder, source, 8, encoder.mean, encoder.std, **settings)


def by_hand(encoder, images):
    """One image at a time, normalised after the definition."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (encoder.mean, encoder.std))
    encoder.eval()
    with torch.no_grad():
        return torch.stack([encoder(((image.float() / 255 - mean) / std)[None])[0] for image in images])


def test_equals_a_loop_over_single_images():
    encoder, source = ToyEncoder(), coloured(23)
    got = features(encoder, source, batch_size=5)
    expected = by_hand(encoder, [fit(image[None], 8)[0] for image in source.images])
    torch.testing.assert_close(got.x, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(got.labels, source.labels)
    assert torch.equal(got.index, torch.arange(23))
    assert got.x.dtype == torch.float32
    assert not got.x.is_inference()


def test_does_not_depend_on_the_batch_size():
    encoder, source = ToyEncoder(), coloured(23)
    torch.testing.assert_close(features(encoder, source, batch_size=1).x, features(encoder, source).x)


@pytest.mark.parametrize("workers", [0, 2])
def test_images_decoded_on_demand_and_unreadable_ones_named(workers):
    encoder, source = ToyEncoder(), OnDemand(11, broken=(0, 4, 5, 6, 10))
    got = features(encoder, source, batch_size=3, workers=workers)
    assert got.index.tolist() == [1, 2, 3, 7, 8, 9]
    assert got.labels.tolist() == [1, 0, 1, 1, 0, 1]
    assert [name for name, _ in got.skipped] == [f"picture {i}" for i in (0, 4, 5, 6, 10)]
    expected = by_hand(encoder, [fit(source[i][None], 8)[0] for i in got.index.tolist()])
    torch.testing.assert_close(got.x, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_every_module_is_given_back_in_its_mode(training):
    encoder = ToyEncoder().train(training)
    encoder.body[1].train(not training)
    before = {name: module.training for name, module in encoder.named_modules()}
    state = {key: value.clone() for key, value in encoder.state_dict().items()}
    features(encoder, coloured(10))
    assert {name: module.training for name, module in encoder.named_modules()} == before
    assert all(torch.equal(state[key], value) for key, value in encoder.state_dict().items())


def test_the_mode_is_restored_after_a_failure():
    def fail(features):
        raise RuntimeError("on purpose")

    encoder = ToyEncoder(output=fail).train()
    with pytest.raises(RuntimeError, match="on purpose"):
        features(encoder, coloured(4))
    assert encoder.training


def test_bfloat16_inside_gives_float32_nearby():
    encoder, source = ToyEncoder(), coloured(12)
    exact, half = features(encoder, source).x, features(encoder, source, precision="bfloat16").x
    assert half.dtype == torch.float32
    assert not torch.equal(exact, half)
    torch.testing.assert_close(half, exact, atol=0.05, rtol=0.05)


def test_no_labels():
    assert features(ToyEncoder(), coloured(5, labels=False)).labels is None


def test_fit_resizes_the_shorter_side_and_crops_the_centre():
    wide = torch.zeros(1, 3, 10, 30, dtype=torch.uint8)
    wide[..., 10:20] = 255
    assert fit(wide, 10).eq(255).all()
    assert fit(wide.transpose(2, 3), 10).eq(255).all()
    assert fit(wide, 5).shape == (1, 3, 5, 5)
    # Antialiased: a fine checkerboard shrinks to grey, not to black or white.
    board = ((torch.arange(64)[:, None] + torch.arange(64)) % 2 * 255).to(torch.uint8).expand(1, 3, 64, 64)
    assert fit(board, 16).float().sub(127.5).abs().max() < 3


def test_fit_does_not_depend_on_the_batch():
    images = torch.randint(0, 256, (6, 3, 17, 13), dtype=torch.uint8)
    together = fit(images, 8)
    assert torch.equal(together, torch.cat([fit(image[None], 8) for image in images]))


def test_pixels_are_flattened_in_the_unit_interval():
    source = coloured(4, side=12)
    got = pixels(source, 12)
    torch.testing.assert_close(got.x, source.images.flatten(1).float() / 255)
    assert pixels(source, 64).x.shape == (4, 3 * 32 * 32)


def test_copies_of_a_grey_channel_are_dropped_only_where_all_agree():
    grey = coloured(4, side=4)
    grey.images = grey.images[:, :1].repeat(1, 3, 1, 1)
    bank, query = pixels(grey, 4), pixels(grey, 4)
    one_channel(bank, query)
    torch.testing.assert_close(bank.x, grey.images[:, 0].flatten(1).float() / 255)
    assert query.x.shape == (4, 16)
    mixed = pixels(grey, 4), pixels(coloured(4, side=4), 4)
    one_channel(*mixed)
    assert [part.x.shape[1] for part in mixed] == [48, 48]
