"""A local push service and simulated readers, for rehearsals, tests and offline demos."""
