"""The codebook: nearest codes, moving averages, restarts, and a state that is all in the checkpoint."""

import pytest
import torch

from connectomake.config.settings.synth_networks import AutoencoderConfig
from connectomake.synth import codebook as module
from connectomake.synth.codebook import Codebook


def make(codes=16, embedding=3, **settings) -> Codebook:
    return Codebook(AutoencoderConfig(codes=codes, embedding=embedding, **settings))


def latents(seed=0, count=4, embedding=3) -> torch.Tensor:
    return torch.randn(2, embedding, count, count, count, generator=torch.Generator().manual_seed(seed))


def test_the_nearest_code_is_found_in_chunks(monkeypatch):
    book, vectors = make().train(), torch.randn(50, 3)
    book(latents())
    expected = torch.cdist(vectors, book.codes).argmin(1)
    monkeypatch.setattr(module, "CHUNK", 16 * 7)  # seven vectors at a time, a rest of one
    assert torch.equal(book.find(vectors), expected)


def test_it_starts_at_latents_and_follows_them_as_the_slow_twin_does():
    book = make(restart_below=0).train()
    first = latents()
    book(first)
    counts, sums, codes = torch.ones(16), None, None
    vectors = first.movedim(1, -1).reshape(-1, 3)
    order = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(0))[:16]
    codes = sums = vectors[order]
    for seed in range(3):
        z = latents(seed)
        if seed:
            book(z)
        vectors = z.movedim(1, -1).reshape(-1, 3)
        onehot = torch.nn.functional.one_hot(torch.cdist(vectors, codes).argmin(1), 16).float()
        counts = 0.99 * counts + 0.01 * onehot.sum(0)
        sums = 0.99 * sums + 0.01 * onehot.T @ vectors
        n = counts.sum()
        codes = sums / ((counts + 1e-7) / (n + 16e-7) * n)[:, None]
        torch.testing.assert_close(book.codes, codes)


def test_codes_stay_among_the_latents_and_come_back_to_life():
    book = make(codes=32).train()
    for seed in range(50):
        book(latents(seed))
    assert book.codes.abs().max() < 6  # standard normal latents
    with torch.no_grad():
        book.codes.fill_(100.0)
        book.codes[0] = 0
        book.sums.copy_(book.codes)
        book.counts.fill_(0)
    book(latents(99))
    assert (book.codes.abs().max(1).values < 6).sum() >= 31  # all but the one that was used


def test_a_reloaded_codebook_goes_on_and_does_not_start_anew():
    one, other = make().train(), make().train()
    one(latents(0))
    other.load_state_dict(one.state_dict())
    for seed in (1, 2):
        one(latents(seed))
        other(latents(seed))
    assert torch.equal(one.codes, other.codes)
    assert int(other.updates) == 3


def test_fewer_latents_than_codes_give_codes_that_differ():
    book = make(codes=40).train()
    book(latents(count=2))  # 16 latents
    assert len(book.codes.unique(dim=0)) == 40


def test_in_evaluation_nothing_changes_and_latents_are_codes():
    book = make().train()
    book(latents())
    before = {name: value.clone() for name, value in book.state_dict().items()}
    found = book.eval()(latents(3).requires_grad_())
    assert all(torch.equal(before[name], value) for name, value in book.state_dict().items())
    torch.testing.assert_close(found.latents.detach(), book.look_up(found.codes))
    assert 1 <= found.perplexity <= 16


def test_gradients_pass_straight_through_and_commitment_pulls():
    book = make(commitment=0.25).train()
    book(latents())
    z = latents(5).requires_grad_()
    found = book(z)
    found.latents.sum().backward()
    assert torch.equal(z.grad, torch.ones_like(z))
    near = book.eval()(z).latents.detach()
    assert book(z).commitment.item() == pytest.approx(0.25 * (z - near).square().mean().item(), rel=1e-5)
