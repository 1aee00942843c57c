"""What the stages stand on: data-set readers, warehouse, store, tracking, compute. No stage logic."""
