"""The arithmetic of late interaction three times: `reference` is the judge, `cpu` and `gpu` are fast."""
