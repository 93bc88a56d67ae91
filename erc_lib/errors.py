"""The errors a user meets: data that cannot be used, a configuration that cannot be meant, a training that cannot go on."""


class DataError(ValueError):
    """Data that cannot be used. The message names the file or utterance, what is wrong there, and what to do."""


class ConfigError(ValueError):
    """A configuration, run specification or command that is misspelt or contradicts itself."""


class TrainingError(RuntimeError):
    """A training that cannot go on, or a checkpoint it cannot go on from. Nothing of it counts as finished."""
