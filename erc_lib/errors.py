"""The two errors a user meets: data that cannot be used, and a configuration or command that cannot be meant."""


class DataError(ValueError):
    """Data that cannot be used. The message names the file or utterance, what is wrong there, and what to do."""


class ConfigError(ValueError):
    """A configuration, run specification or command that is misspelt or contradicts itself."""
