"""The report's tables: correlations, rankings and residuals. Every number on the page is read from tables."""

from assets.statistics import tables as statistics
from resources.warehouse import Table


def _on_readable_rows(table: Table) -> Table:
    """The same table over the rows whose image could be read; empty where all could, since it would repeat it."""
    first, *lines, last = table.sql.strip().splitlines()
    name = f"{table.name}_readable"
    header = first.replace(table.name, name).split("  -- ")[0]
    note = f"{table.name} over rows with a readable image; empty if all are readable"
    n_labels = "    n_labels BIGINT,  -- Rows that the label statistics counted"
    return Table("\n".join([f"{header}  -- {note}", *lines, n_labels, last]))


CONDITIONAL_ENTROPY_READABLE = _on_readable_rows(statistics.CONDITIONAL_ENTROPY)
HARDNESS_READABLE = _on_readable_rows(statistics.HARDNESS)

_ASSOCIATION = """
    pearson_r         DOUBLE,            -- Pearson's correlation
    pearson_p         DOUBLE,            -- Its two-sided p-value
    ci_low            DOUBLE,            -- Lower end of Fisher's 95 % interval
    ci_high           DOUBLE,            -- Upper end
    spearman_r        DOUBLE,            -- Spearman's rank correlation
    kendall_tau       DOUBLE,            -- Kendall's tau
    undefined_because VARCHAR,           -- Why the correlation is NULL
    weighted_tau      DOUBLE,            -- Weighted tau of the negated values, so that the best weigh most
    spearman_p        DOUBLE,            -- p-value of Spearman's
    kendall_p         DOUBLE,            -- p-value of Kendall's"""

TRANSFER_CORRELATION = Table(
    f"""
CREATE TABLE transfer_correlation (  -- H(Y|Z) against the test error of the probes, by source (Fig. 2, 3)
    source            VARCHAR NOT NULL,  -- The source task Z
    split             VARCHAR NOT NULL,  -- Split of the conditional entropy
    target_values     BIGINT NOT NULL,   -- Number of values of the targets: one row a group
    n_targets         BIGINT NOT NULL,   -- Targets with estimate and measurement{_ASSOCIATION}
    q_value           DOUBLE,            -- Benjamini-Hochberg over the sources of the group
    q_value_any_dependence DOUBLE,       -- Benjamini-Yekutieli: holds under any dependence
    n_constant        BIGINT,            -- Targets left out because they are constant in train
    n_equivalent      BIGINT,            -- Targets that are duplicates or complements of the source
    distinct_pearson_r DOUBLE,           -- Pearson's correlation without those
    bootstrap_low     DOUBLE,            -- Its 95 % interval, bootstrap over tasks
    bootstrap_high    DOUBLE,            -- Upper end
    entropy_r         DOUBLE,            -- The baseline: correlation of H(Y) alone with the error
    difference        DOUBLE,            -- distinct_pearson_r minus entropy_r
    difference_low    DOUBLE,            -- Its 95 % interval, bootstrap over tasks
    difference_high   DOUBLE,            -- Upper end
    williams_t        DOUBLE,            -- Williams' t of the two dependent correlations
    williams_p        DOUBLE,            -- Its p-value
    partial_r         DOUBLE,            -- Correlation given H(Y)
    partial_p         DOUBLE,            -- Its p-value
    information_r     DOUBLE,            -- I(Y;Z) against the error reduction over the majority guess
    information_p     DOUBLE,            -- Its p-value
    slope             DOUBLE,            -- Of the regression line, error a nat
    intercept         DOUBLE,            -- Of the regression line
)
"""
)

OVERALL_CORRELATION = Table(
    """
CREATE TABLE overall_correlation (  -- What all sources together say, by split and number of target values
    split                  VARCHAR NOT NULL,  -- Split of the conditional entropy
    target_values          BIGINT NOT NULL,   -- Number of values of the targets
    n_sources              BIGINT NOT NULL,   -- Sources
    n_defined              BIGINT NOT NULL,   -- Sources whose correlation is defined
    n_targets              BIGINT,            -- Targets
    n_pairs                BIGINT,            -- Distinct pairs, without duplicates and complements
    n_equivalent           BIGINT,            -- Pairs left out as duplicates or complements
    n_significant          BIGINT,            -- Sources significant at 0.05 after Benjamini-Hochberg
    share_significant      DOUBLE,            -- Their share
    min_r                  DOUBLE,            -- Smallest correlation of a source
    max_r                  DOUBLE,            -- Largest
    median_r               DOUBLE,            -- Median correlation over sources
    median_r_low           DOUBLE,            -- Its 95 % interval, bootstrap over tasks
    median_r_high          DOUBLE,            -- Upper end
    median_entropy_r       DOUBLE,            -- Median of the baseline H(Y)
    median_entropy_r_low   DOUBLE,            -- Its interval
    median_entropy_r_high  DOUBLE,            -- Upper end
    median_difference      DOUBLE,            -- Median of the differences from the baseline
    median_difference_low  DOUBLE,            -- Its interval
    median_difference_high DOUBLE,            -- Upper end
    pooled_r               DOUBLE,            -- Correlation over all distinct pairs
    pooled_r_low           DOUBLE,            -- Its interval
    pooled_r_high          DOUBLE,            -- Upper end
    pooled_entropy_r       DOUBLE,            -- Baseline over all distinct pairs
    pooled_entropy_r_low   DOUBLE,            -- Its interval
    pooled_entropy_r_high  DOUBLE,            -- Upper end
    within_target_r        DOUBLE,            -- Correlation within targets, whose own entropy is the same
    within_target_r_low    DOUBLE,            -- Its interval
    within_target_r_high   DOUBLE,            -- Upper end
    median_spearman_r      DOUBLE,            -- Median over sources
    median_kendall_tau     DOUBLE,            -- Median over sources
    median_weighted_tau    DOUBLE,            -- Median over sources
    median_partial_r       DOUBLE,            -- Median over sources
    median_information_r   DOUBLE,            -- Median over sources
    n_better_than_entropy  BIGINT,            -- Sources for which H(Y|Z) is significantly better than H(Y)
    n_worse_than_entropy   BIGINT,            -- Sources for which it is significantly worse
    undefined_because      VARCHAR,           -- Why there is no correlation
)
"""
)

HARDNESS_CORRELATION = Table(
    f"""
CREATE TABLE hardness_correlation (  -- Hardness H(Z|C) against the dedicated networks' test error, over tasks (Fig. 6)
    split             VARCHAR NOT NULL,  -- Split of the hardness
    task_values       BIGINT NOT NULL,   -- Number of values of the tasks: one row a group
    n_tasks           BIGINT NOT NULL,   -- Tasks with estimate and measurement{_ASSOCIATION}
    slope             DOUBLE,            -- Of the regression line, error a nat
    intercept         DOUBLE,            -- Of the regression line
)
"""
)

BEST_SOURCES = Table(
    """
CREATE TABLE best_sources (  -- For every target its sources, best first by the bias-corrected H(Y|Z)/H(Y)
    split                VARCHAR NOT NULL,  -- Split of the estimate
    target               VARCHAR NOT NULL,  -- The target task Y
    source               VARCHAR NOT NULL,  -- The source task Z
    rank                 BIGINT,            -- 1 = best; wide, near-unique and duplicate sources counted apart
    wide                 BOOLEAN,           -- Whether the source has more values than the target
    near_unique          BOOLEAN,           -- Whether the source is nearly a name for each row
    equivalent           BOOLEAN,           -- Whether source and target determine each other
    conditional_entropy  DOUBLE,            -- H(Y|Z), nats
    corrected            DOUBLE,            -- Bias-corrected H(Y|Z), nats
    corrected_normalised DOUBLE,            -- The corrected value over H(Y)
    joint_entropy        DOUBLE,            -- H(Y,Z), nats; Theorem 1 with Eq. 14 compares sources by -H(Y,Z)
    test_error           DOUBLE,            -- Measured transfer error; NULL where not measured
    dedicated_error      DOUBLE,            -- Test error of the target's own network
    measured_rank        BIGINT,            -- Rank by the measured error among the same sources
)
"""
)

TARGET_RANKING = Table(
    """
CREATE TABLE target_ranking (  -- For every target: do its sources rank as estimated, what does following cost?
    split             VARCHAR NOT NULL,  -- Split of the estimate
    target            VARCHAR NOT NULL,  -- The target task Y
    target_values     BIGINT,            -- Its number of values
    n_sources         BIGINT,            -- Sources compared (neither wide, near-unique nor duplicates)
    spearman_r        DOUBLE,            -- Estimate against error over sources
    spearman_p        DOUBLE,            -- Its p-value
    kendall_tau       DOUBLE,            -- Kendall's tau
    weighted_tau      DOUBLE,            -- Weighted tau of the negated values
    chosen_source     VARCHAR,           -- The source that the estimate ranks first
    chosen_error      DOUBLE,            -- Its test error
    best_source       VARCHAR,           -- The source with the smallest test error
    best_error        DOUBLE,            -- Its test error
    mean_error        DOUBLE,            -- Mean test error over sources
    regret            DOUBLE,            -- chosen_error - best_error
    random_regret     DOUBLE,            -- The same for a source taken at random
    undefined_because VARCHAR,           -- Why something is NULL
)
"""
)

RESIDUALS = Table(
    """
CREATE TABLE residuals (  -- How far every pair lies from its source's regression line; largest first
    split               VARCHAR NOT NULL,  -- Split of the estimate
    source              VARCHAR NOT NULL,  -- The source task Z
    target              VARCHAR NOT NULL,  -- The target task Y
    target_values       BIGINT,            -- The target's number of values
    conditional_entropy DOUBLE,            -- H(Y|Z), nats
    test_error          DOUBLE,            -- Measured transfer error
    fitted              DOUBLE,            -- The line's value
    residual            DOUBLE,            -- test_error - fitted
    standardised        DOUBLE,            -- Internally studentised residual
)
"""
)
