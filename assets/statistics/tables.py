"""The count tables and what follows from them: conditional entropy, hardness, and their uncertainty."""

from resources.warehouse import Table

LABEL_COUNTS = Table(
    """
CREATE TABLE label_counts (  -- How often each value of each task occurs (Eq. 8)
    split VARCHAR NOT NULL,  -- train, test or all
    task  VARCHAR NOT NULL,  -- The task
    value INTEGER NOT NULL,  -- The code of the value
    n     BIGINT  NOT NULL,  -- Rows with this value
)
"""
)

JOINT_COUNTS = Table(
    """
CREATE TABLE joint_counts (  -- How often two values occur together on rows with both labels (Eq. 6); no zeros
    split        VARCHAR NOT NULL,  -- train, test or all
    source       VARCHAR NOT NULL,  -- The source task Z
    target       VARCHAR NOT NULL,  -- The target task Y
    source_value INTEGER NOT NULL,  -- The code z
    target_value INTEGER NOT NULL,  -- The code y
    n            BIGINT  NOT NULL,  -- Rows with both
)
"""
)

CONDITIONAL_ENTROPY = Table(
    """
CREATE TABLE conditional_entropy (  -- H(Y|Z) of every pair (Eq. 7) and every cheap estimate beside it, in nats
    split                VARCHAR NOT NULL,  -- train, test or all
    source               VARCHAR NOT NULL,  -- The source task Z, which is the condition
    target               VARCHAR NOT NULL,  -- The target task Y
    conditional_entropy  DOUBLE,            -- H(Y|Z), plug-in, nats
    target_entropy       DOUBLE,            -- H(Y) over the same rows, nats
    n                    BIGINT  NOT NULL,  -- Rows where both labels are known
    undefined_because    VARCHAR,           -- Why H(Y|Z) is NULL; NULL where it is defined
    source_entropy       DOUBLE,            -- H(Z) over the same rows, nats
    joint_entropy        DOUBLE,            -- H(Y,Z), nats; among sources Theorem 1 with Eq. 14 compares -H(Y,Z)
    mutual_information   DOUBLE,            -- I(Y;Z) = H(Y) - H(Y|Z), nats
    normalised           DOUBLE,            -- H(Y|Z)/H(Y); NULL where H(Y) is 0
    corrected            DOUBLE,            -- H(Y|Z) corrected for the bias of wide sources, nats
    corrected_normalised DOUBLE,            -- The corrected value over H(Y); lists of best sources rank by it
    corrected_target_entropy DOUBLE,        -- H(Y) corrected in the same way, nats
    n_source_values      BIGINT,            -- Values of Z that occur on these rows
    n_target_values      BIGINT,            -- Values of Y that occur on these rows
    wide_source          BOOLEAN,           -- Whether Z has more values than Y: it determines much by that alone
    near_unique_source   BOOLEAN,           -- Whether Z has fewer than two rows a value, here or as a column
    equivalent           BOOLEAN,           -- Whether Y and Z determine each other: duplicates and complements
)
"""
)

HARDNESS = Table(
    """
CREATE TABLE hardness (  -- H(Z|C), the hardness of every task (Eq. 14)
    split    VARCHAR NOT NULL,  -- train, test or all
    task     VARCHAR NOT NULL,  -- The task
    hardness DOUBLE,            -- H(Z|C) = H(Z), nats; NULL where no label is known
    n        BIGINT  NOT NULL,  -- Rows with a known label
    n_values INTEGER NOT NULL,  -- Values that occur
    undefined_because VARCHAR,  -- Why hardness is NULL
)
"""
)

LABEL_UNCERTAINTY = Table(
    """
CREATE TABLE label_uncertainty (  -- How far the conditional entropy of every pair can be trusted
    split     VARCHAR NOT NULL,  -- train, test or all
    source    VARCHAR NOT NULL,  -- The source task Z
    target    VARCHAR NOT NULL,  -- The target task Y
    corrected DOUBLE,            -- Bias-corrected H(Y|Z), nats
    ci_low    DOUBLE,            -- Lower end of the 95 % interval around it, nats
    ci_high   DOUBLE,            -- Upper end
    null_mean DOUBLE,            -- Mean plug-in H(Y|Z) over shuffles of Z: what chance gives, nats
    null_q95  DOUBLE,            -- 95 % quantile of the same, nats
    null_q05  DOUBLE,            -- 5 % quantile: an H(Y|Z) below it is more than chance, nats
    p_value   DOUBLE,            -- Share of shuffles with as small an H(Y|Z)
    n         BIGINT,            -- Rows where both labels are known
    standard_error DOUBLE,       -- Of the corrected value, delta method, nats
    undefined_because VARCHAR,   -- Why the numbers are NULL
)
"""
)
