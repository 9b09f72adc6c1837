"""lm-eval's tasks by id: found, their data looked for beside the recipe first, and built. Imports lm_eval."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from metier.core.errors import Mistake

_GROUP_ONLY = {"group", "task", "group_alias", "aggregate_metric_list", "metadata", "tag", "task_list"}


class Leaf(NamedTuple):
    """One task to run.

    `asked` is the id in the recipe, which may be a group's; `name` the task itself; `changes` what the group changes
    of the task's own YAML.
    """

    asked: str
    name: str
    yaml: Path | None
    changes: Mapping[str, Any]


class Catalogue:
    """The tasks that can be named: those of a folder of one's own, then those that lm-eval carries.

    Args:
        folder: task YAML and data of one's own, or None.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._index: Mapping[str, Any] = {}

    def leaves(self, ids: Sequence[str]) -> list[Leaf]:
        """Return the tasks that `ids` stand for, groups and tags taken apart, in their order.

        Raises:
            Mistake: an id is not known, or a task is asked for twice.
        """
        for index in self._indexes(ids):
            self._index = index
            try:
                found = [leaf for asked in ids for leaf in self._expanded(asked, asked, {})]
            except KeyError as error:
                missing = error.args[0]
            else:
                break
        else:
            raise Mistake(f"there is no benchmark '{missing}'", *self._nearest(missing))
        for leaf in found:
            twice = [other.asked for other in found if other.name == leaf.name]
            if len(twice) > 1:
                raise Mistake(f"the benchmark '{leaf.name}' is asked for twice", found=", ".join(twice))
        return found

    def _indexes(self, ids: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Yield the folder's own tasks, then with likely parts of lm-eval's, then with all of them.

        All of them are 14,000 files, which take half a minute to read.
        """
        from lm_eval.tasks import TaskManager

        own = [self.folder] if self.folder is not None else []
        if own:
            yield TaskManager(include_path=own, include_defaults=False).task_index
        carried = _carried()
        stems = {part for id in ids for part in (id, re.split(r"[-_]", id)[0])}
        likely = [carried / stem for stem in sorted(stems) if stem and (carried / stem).is_dir()]
        if likely:
            yield TaskManager(include_path=[*likely, *own], include_defaults=False).task_index
        yield TaskManager(include_path=own or None).task_index

    def _expanded(self, asked: str, name: str, changes: Mapping[str, Any]) -> Iterator[Leaf]:
        entry = self._index[name]
        if entry.kind.name == "TAG":
            for member in sorted(entry.tags):
                yield from self._expanded(asked, member, changes)
            return
        if entry.kind.name != "GROUP":
            yield Leaf(asked, name, entry.yaml_path, changes)
            return
        yield from self._members(asked, name, entry.cfg, changes)

    def _members(self, asked: str, group: str, config: Mapping[str, Any], changes: Mapping[str, Any]) -> Iterator[Leaf]:
        shared = {**{key: value for key, value in config.items() if key not in _GROUP_ONLY}, **changes}
        for member in config.get("task") or []:
            if isinstance(member, str):
                yield from self._expanded(asked, member, shared)
                continue
            own = {**shared, **{key: value for key, value in member.items() if key not in ("task", "group")}}
            named = member.get("group") or member["task"]
            if named in self._index:
                yield from self._expanded(asked, named, own)
            elif "group" in member:
                yield from self._members(asked, f"{group}::{named}", member, shared)
            else:  # written out within the group
                yield Leaf(asked, f"{group}::{named}", None, own)

    def _nearest(self, missing: str) -> tuple[str, str]:
        from difflib import get_close_matches

        near = get_close_matches(missing, list(self._index), 3, 0.5)
        return (
            f"nearest: {', '.join(near)}" if near else f"{len(self._index)} others",
            "`lm-eval ls tasks` lists those it carries; a task of your own is a YAML file in `folder`",
        )

    def check_versions(self, leaves: Sequence[Leaf], wanted: Mapping[str, str]) -> None:
        """Raise Mistake if a task is of another version than `wanted` says, by its id or that of its group."""
        from lm_eval.tasks._yaml_loader import load_yaml

        known = {name for leaf in leaves for name in (leaf.asked, leaf.name)}
        if strange := [name for name in wanted if name not in known]:
            raise Mistake(f"a version is given for '{strange[0]}', which is not among the benchmarks of this step")
        for leaf in leaves:
            version = wanted.get(leaf.name, wanted.get(leaf.asked))
            if version is None:
                continue
            config = load_yaml(leaf.yaml, resolve_func=False) if leaf.yaml is not None else leaf.changes
            found = (config.get("metadata") or {}).get("version")
            if str(found) != version:
                raise Mistake(
                    f"the benchmark '{leaf.name}' is of another version than the recipe wants",
                    found=f"version {found}, wanted {version}",
                    hint="install the lm-eval that carries it, or change `versions`",
                )

    def build(self, leaf: Leaf) -> Any:
        """Return lm-eval's task with its data loaded, from `folder` where they are there.

        Raises:
            Mistake: the data are not to be had, or not those that the task was written for.
        """
        from lm_eval.tasks import TaskManager
        from lm_eval.tasks._yaml_loader import load_yaml

        config: dict[str, Any] = {}
        source = "its own code"
        try:
            config = load_yaml(leaf.yaml) if leaf.yaml is not None else {}
            config = {**config, **leaf.changes, "task": leaf.name}
            source = self._localised(config, leaf.yaml)
            with quiet():
                task = TaskManager(include_defaults=False).load([config])["tasks"][leaf.name]
        except ConnectionError as error:
            _go_offline()
            raise _not_here(leaf, config.get("dataset_path"), error) from error
        except Exception as error:
            if _is_hub(error):
                raise _not_here(leaf, config.get("dataset_path"), error) from error
            raise Mistake(
                f"the benchmark '{leaf.name}' cannot be set up",
                found=told(error),
                hint=f"its data come from {source}, perhaps in another version: look whether they have the splits and "
                "columns that its YAML names",
            ) from error
        if getattr(task, "UNSAFE_CODE", False):
            raise Mistake(
                f"the benchmark '{leaf.name}' runs what the model writes",
                hint="use the step `pass-at-k`, which runs programs in a sandbox",
            )
        return task

    def _localised(self, config: dict[str, Any], yaml: Path | None) -> str:
        """Point a task's data at local files where there are any; return where they come from."""
        path = str(config.get("dataset_path") or "")
        if self.folder is not None and path and (self.folder / path).is_dir():
            config["dataset_path"] = str(self.folder / path)
        options = dict(config.get("dataset_kwargs") or {})
        base = yaml.parent if yaml is not None else self.folder
        for key in ("data_files", "data_dir"):
            if options.get(key) is not None and base is not None:
                options[key] = _beside(base, options[key])
        config["dataset_kwargs"] = options or None
        return str(options.get("data_files") or config["dataset_path"]) if path else "its own code"


def _not_here(leaf: Leaf, dataset: str | None, error: Exception) -> Mistake:
    return Mistake(
        f"the data of the benchmark '{leaf.name}' are not here, and no hub gives them",
        found=told(error),
        hint=f"where a hub is reachable: hf download --repo-type dataset {dataset} --local-dir FOLDER/{dataset}; "
        "then give the step `folder: FOLDER`",
    )


def _carried() -> Path:
    import lm_eval.tasks

    return Path(lm_eval.tasks.__path__[0])


def _beside(base: Path, given: Any) -> Any:
    """Return the paths of a task's data files, those that stand beside its YAML as absolute paths."""
    if isinstance(given, Mapping):
        return {key: _beside(base, value) for key, value in given.items()}
    if isinstance(given, list):
        return [_beside(base, value) for value in given]
    if "://" in str(given) or Path(str(given)).is_absolute():
        return given
    found = base / str(given)
    if found.exists() or "*" in str(given):
        return str(found)
    raise FileNotFoundError(f"there is no {given} beside the task's YAML")


def _is_hub(error: BaseException) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"OfflineModeIsEnabled", "HfHubHTTPError", "DatasetNotFoundError", "LocalEntryNotFoundError"})


def _go_offline() -> None:
    # Asked again for every one of a group's 57 tasks, a hub that does not answer takes half a minute each time.
    import datasets
    import huggingface_hub.constants

    huggingface_hub.constants.HF_HUB_OFFLINE = True
    datasets.config.HF_HUB_OFFLINE = True


def told(error: BaseException) -> str:
    """Return an exception in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Keep lm-eval's progress bars and log lines off the screen: the step shows its own."""
    import datasets
    import lm_eval.api.task
    from tqdm import tqdm

    logger, bars = logging.getLogger("lm_eval"), datasets.are_progress_bars_disabled()
    level, shown = logger.level, lm_eval.api.task.tqdm
    logger.setLevel(logging.ERROR)
    lm_eval.api.task.tqdm = partial(tqdm, disable=True)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        lm_eval.api.task.tqdm = shown
        if not bars:
            datasets.enable_progress_bars()
