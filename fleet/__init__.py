"""What every process of Botfleet shares: the schema, its SQL, the config model, states and logging."""

__version__ = "0.1.0"
