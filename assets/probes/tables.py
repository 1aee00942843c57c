"""The tables of transfer: what every probe measured, and Theorem 1 for every pair."""

from resources.warehouse import Table

TRANSFER = Table(
    """
CREATE TABLE transfer (  -- One row a pair: the linear SVM on the source's frozen embedding (Eq. 3-4)
    source              VARCHAR NOT NULL,  -- The source task Z
    target              VARCHAR NOT NULL,  -- The target task Y
    train_error         DOUBLE,            -- Share of train rows misclassified
    test_error          DOUBLE,            -- 1 - Trf(Z → Y): share of test rows misclassified
    n_train             BIGINT NOT NULL,   -- Labelled train rows
    n_test              BIGINT NOT NULL,   -- Labelled test rows
    constant_target     BOOLEAN NOT NULL,  -- Whether the target has a single value in train and is predicted as that
    undefined_because   VARCHAR,           -- Why an error is NULL
    test_majority_error DOUBLE,            -- Error of always guessing train's most frequent value
    c                   DOUBLE,            -- The SVM's C
    objective           DOUBLE,            -- LinearSVC's objective reached, summed over one-vs-rest problems
    gradient_norm       DOUBLE,            -- Norm of its gradient over all one-vs-rest problems (f - f* ≤ ½‖∇f‖²)
    converged           BOOLEAN,           -- Whether ½‖∇f‖² ≤ probe.tolerance · f for each of its problems
    probe_log_likelihood DOUBLE,           -- l_Y of a logistic probe over train rows with both labels, nats
)
"""
)

BOUND = Table(
    """
CREATE TABLE bound (  -- Theorem 1 for every pair, all on the same train rows; nats
    source                VARCHAR NOT NULL,  -- The source task Z
    target                VARCHAR NOT NULL,  -- The target task Y
    n                     BIGINT NOT NULL,   -- Train rows with both labels and a readable image
    source_log_likelihood DOUBLE,            -- l_Z on these rows
    conditional_entropy   DOUBLE,            -- H(Y|Z) on these rows
    kbar_log_likelihood   DOUBLE,            -- l_Y of the classifier k̄ of the proof (Eq. 9)
    probe_log_likelihood  DOUBLE,            -- l_Y of a logistic probe on the embedding
    slack                 DOUBLE,            -- l_Y(k̄) - (l_Z - H(Y|Z)); never negative
    undefined_because     VARCHAR,           -- Why there is no bound
    slack_check           DOUBLE,            -- The slack computed another way, -mean log q(z|x,y); NULL = unchecked
    n_violations          BIGINT,            -- Rows on which the inequality fails; must be 0
    n_checked             BIGINT,            -- Rows on which the slack was computed both ways; NULL without a slack
)
"""
)

SAMPLE_EFFICIENCY = Table(
    """
CREATE TABLE sample_efficiency (  -- Fig. 5: test accuracy against the number of training images
    source        VARCHAR,           -- The source transferred from; NULL = a dedicated network from scratch
    target        VARCHAR NOT NULL,  -- The target task
    n_train       BIGINT NOT NULL,   -- Training images
    seed          INTEGER NOT NULL,  -- Of the subset and the network
    test_accuracy DOUBLE NOT NULL,   -- Share of test rows classified right
    mean_accuracy DOUBLE,            -- Mean over the seeds of the same source, target and n_train
    ci_low        DOUBLE,            -- Lower end of Student's 95 % interval of that mean; NULL where there is one seed
    ci_high       DOUBLE,            -- Upper end
)
"""
)
