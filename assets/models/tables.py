"""The table of source models: how well each was learned. Weights and embeddings are files in the store."""

from resources.warehouse import Table

SOURCE_MODELS = Table(
    """
CREATE TABLE source_models (  -- One row a source: its network (Eq. 1-2) and its own error, the empirical hardness
    task                 VARCHAR NOT NULL,  -- The source task Z
    train_log_likelihood DOUBLE,            -- l_Z over its labelled train rows, evaluation mode, nats
    train_error          DOUBLE,            -- Share of train rows misclassified
    test_error           DOUBLE,            -- Share of test rows misclassified: the empirical hardness
    n_train              BIGINT,            -- Labelled train rows
    n_test               BIGINT,            -- Labelled test rows
    n_unseen             BIGINT,            -- Test rows whose value train never showed
    epochs               INTEGER,           -- Passes over train
    seconds              DOUBLE,            -- Wall time of training, seconds
    device               VARCHAR,           -- cpu, cuda or mps
    undefined_because    VARCHAR,           -- Why something above is NULL
    backbone             VARCHAR,           -- torchvision's name of the network
    head                 VARCHAR,           -- softmax or cosface
    n_classes            INTEGER,           -- Values seen in train
)
"""
)
