"""What the solver multiplies and factorises: half products, factors of single targets, exact steps over a kink."""

import numpy as np
import pytest
import torch

from assets.probes.conjugate_gradients import ConjugateGradients
from assets.probes.exact_steps import ExactSteps
from assets.probes.losses import SquaredHinge
from assets.probes.newton import newton
from assets.probes.preconditioner import Preconditioner
from assets.probes.problem import Problem, evaluate
from assets.probes.rows import Rows, add_to_lower
from assets.probes.spectrum import spectrum_of


@pytest.mark.parametrize("d", [1, 7, 129, 130, 513, 1100])
def test_half_a_symmetric_product_is_its_lower_triangle(d) -> None:
    left = torch.from_numpy(np.random.default_rng(d).normal(size=(9, d)))
    weight = torch.linspace(-1, 2, 9, dtype=torch.float64)
    total = torch.ones(d, d, dtype=torch.float64)
    add_to_lower(total, left * weight[:, None], left)
    whole = 1 + left.T @ torch.diag(weight) @ left
    torch.testing.assert_close(total.tril(), whole.tril())


@pytest.mark.parametrize(("n_targets", "made"), [(1, False), (3, True)])
def test_factors_are_exact_and_share_the_moments_of_all_rows_where_that_pays(n_targets, made) -> None:
    rng = np.random.default_rng(0)
    rows = Rows(torch.from_numpy(rng.normal(size=(3000, 20)).astype(np.float32)), torch.device("cpu"))
    preconditioner = Preconditioner(rows, spectrum_of(rows), n_targets)
    targets, c = torch.arange(n_targets), torch.full((n_targets,), 0.5, dtype=torch.float64)
    curvature = torch.from_numpy(2.0 * (rng.random((3000, n_targets)) < 0.9)).float()
    preconditioner.rescale(targets, c, curvature)
    assert not preconditioner.factors
    preconditioner.hurry(targets)
    preconditioner.rescale(targets, c, curvature)
    assert sorted(preconditioner.factors) == targets.tolist()
    assert (preconditioner.moments is not None) == made
    x = torch.cat([rows.embedding, torch.ones(3000, 1)], dim=1).double()
    vectors = torch.from_numpy(rng.normal(size=(21, n_targets)))
    for t in range(n_targets):
        hessian = torch.eye(21, dtype=torch.float64) + c[t] * (x.T * curvature[:, t].double()) @ x
        back = preconditioner.solve((hessian @ vectors[:, t])[:, None], targets[[t]])
        torch.testing.assert_close(back[:, 0], vectors[:, t], rtol=1e-3, atol=1e-3)


def test_exact_steps_that_may_rise_for_a_while_arrive_sooner(digits) -> None:
    train = digits.is_train
    embedding = torch.from_numpy(np.ascontiguousarray(digits.embedding[train]))
    rows = Rows(embedding, torch.device("cpu"))
    labels = torch.from_numpy(digits.labels[train])
    signs = torch.where(labels < 0, 0, 2 * labels - 1).to(torch.int8).T.contiguous().T
    n_targets = signs.shape[1]
    problem = Problem(rows, signs, torch.ones(n_targets, dtype=torch.float64), SquaredHinge())
    exact = Problem(rows.converted(torch.float64), signs, problem.c, problem.loss)
    start = torch.zeros(rows.d + 1, n_targets, dtype=torch.float64)
    found = []
    for memory in (1, 5):
        gradients = ConjugateGradients(Preconditioner(rows, spectrum_of(rows), n_targets))
        steps = ExactSteps(rows, gradients)
        found.append(newton(exact, start, 1e-8, steps, torch.arange(n_targets), memory=memory))
    (straight, many), (over, fewer) = found
    assert fewer < many
    for weights in (straight, over):
        objective, norm = evaluate(problem, weights)
        assert bool((0.5 * norm.square() <= 1e-8 * objective).all())
