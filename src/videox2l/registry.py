"""Names for what can be chosen: a class is imported when it is first asked for; other packages add theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from videox2l.errors import SettingsError

T = TypeVar("T")


class Registry(Generic[T]):
    """Dataclasses of one kind by name.

    kind: what they are, for messages, as "compressor". classes: by name, "module:Class". Another package adds a class
    by an entry point of the group "videox2l.<kind>s"; its name may not be one of ours.
    """

    def __init__(self, kind: str, classes: Mapping[str, str]):
        self.kind = kind
        self._ours = dict(classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name, sorted."""
        return tuple(sorted({*self._ours, *(point.name for point in self._added())}))

    def __getitem__(self, name: str) -> type[T]:
        """The class of a name.

        Raises: SettingsError that lists the names there are, or names the package whose class does not load.
        """
        if name in self._ours:
            module, _, attribute = self._ours[name].partition(":")
            return getattr(import_module(module), attribute)
        for point in self._added():
            if point.name == name:
                try:
                    return point.load()
                except Exception as error:  # another package raises whatever it raises
                    package = point.dist.name if point.dist else point.value
                    raise SettingsError(
                        f"{self.kind} {name!r} of the package {package} does not load ({error}): mend or remove it"
                    ) from error
        raise self._unknown(name)

    def check(self, name: str) -> None:
        """Raises: SettingsError for an unknown name; nothing is imported."""
        if name not in self.names:
            raise self._unknown(name)

    def _unknown(self, name: str) -> SettingsError:
        return SettingsError(f"{self.kind} {name!r} is unknown: pass one of {', '.join(self.names)}")

    def settings(self, name: str) -> tuple[str, ...]:
        """The settings that the class of a name takes."""
        return tuple(field.name for field in fields(self[name]) if field.init)  # type: ignore[arg-type]

    def required(self, name: str) -> tuple[str, ...]:
        """Those of the settings that have no default."""
        known = fields(self[name])  # type: ignore[arg-type]
        return tuple(field.name for field in known if field.default is field.default_factory is MISSING)

    def make(self, name: str, **settings: Any) -> T:
        """An instance.

        Raises: SettingsError for an unknown name, a setting that the class does not have, or one that it lacks.
        """
        known = self.settings(name)
        if unknown := [setting for setting in settings if setting not in known]:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise SettingsError(f"{self.kind} {name} has no setting {unknown[0]!r}: {has}")
        if missing := [setting for setting in self.required(name) if setting not in settings]:
            raise SettingsError(f"{self.kind} {name} needs {missing[0]}: pass a value for it")
        return self[name](**settings)

    def name(self, chosen: T) -> str:
        """The name of an instance's class, "module:Class" for one that has none."""
        home = f"{type(chosen).__module__}:{type(chosen).__qualname__}"
        name = next((name for name, ours in self._ours.items() if ours == home), home)
        return next((point.name for point in self._added() if point.value == home), name)

    def describe(self, chosen: T) -> dict[str, Any]:
        """An instance as plain data: its name and its settings."""
        settings = {field.name: getattr(chosen, field.name) for field in fields(chosen) if field.init}  # type: ignore[arg-type]
        return {"name": self.name(chosen)} | {setting: self._plain(value) for setting, value in settings.items()}

    def _plain(self, value: Any) -> Any:
        if isinstance(value, tuple | list):
            return [self._plain(part) for part in value]
        return self.describe(value) if is_dataclass(value) else value  # type: ignore[arg-type]

    def _added(self) -> list[Any]:
        return [point for point in entry_points(group=f"videox2l.{self.kind}s") if point.name not in self._ours]
