"""The errors a user can cause: each message is one sentence with the cause, the value and the mend."""


class VideoX2LError(Exception):
    """Base of every error this package raises on purpose; the CLI prints it and exits with code 2."""


class VideoError(VideoX2LError):
    """A video that can't be read: missing, broken, empty, or without a video stream."""


class ModelError(VideoX2LError):
    """A model that can't be loaded or driven: unknown, incomplete, or of an unsupported kind."""


class SettingsError(VideoX2LError):
    """A setting that can't be met: an unknown name, or values that contradict each other."""


class StoreError(VideoX2LError):
    """A store that can't be written, read or trusted."""


class QuestionError(VideoX2LError):
    """A question that can't be asked: empty, or longer than the model can take."""
