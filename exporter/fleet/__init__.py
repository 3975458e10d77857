"""Several replicas for one account: who follows which call."""
