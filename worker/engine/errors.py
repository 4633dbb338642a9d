"""What can go wrong inside the engine, as data: a stable code and a message for the user."""


class EngineError(Exception):
    """Base of every error that the engine raises or puts into a future.

    `code` is stable and may be stored; `message` names the cause and the cure and carries no
    question, answer or picture.
    """

    code = "engine_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ModelError(EngineError):
    """The model cannot be loaded or served as it is."""

    code = "model_unusable"


class InvalidRequest(EngineError):
    """The request itself is wrong; sending it again gives the same answer."""

    code = "invalid_request"


class PromptTooLong(InvalidRequest):
    """The prompt and the room for the answer exceed what the model or the cache can hold."""

    code = "prompt_too_long"


class TooManyImages(InvalidRequest):
    """The pictures of one request need more image tokens than the engine keeps."""

    code = "too_many_images"


class ImageUnreadable(InvalidRequest):
    """A picture cannot be decoded, or its shape leaves nothing to look at."""

    code = "image_unreadable"


class PreprocessingCrashed(EngineError):
    """The process that prepared the picture died; another attempt may succeed."""

    code = "preprocessing_crashed"


class OutOfMemory(EngineError):
    """The device had no memory left for this request's pictures; another attempt may succeed."""

    code = "out_of_memory"


class EngineFailed(EngineError):
    """The engine met an error that it cannot recover from, maybe through this request; restart."""

    code = "engine_failed"

    @classmethod
    def by(cls, cause: BaseException) -> "EngineFailed":
        """The failure that an unforeseen error is to those who wait; its text stays inside."""
        failed = cls(
            f"The engine failed with {type(cause).__name__}; restart the worker and try again."
        )
        failed.__cause__ = cause
        return failed


class EngineClosed(EngineFailed):
    """The engine takes no more requests, or was closed before the answer was complete."""

    code = "engine_closed"


def first_line(error: BaseException) -> str:
    """What an error says in its first line; its type where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
