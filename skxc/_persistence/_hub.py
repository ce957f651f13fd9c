"""Saved models on the Hugging Face hub, under names such as "hf://owner/name@revision"."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn
from urllib.parse import urlsplit
from urllib.request import getproxies

from ._reading import CONFIG, LARGEST_CONFIG, read_config

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_PREFIX = "hf://"
_REPOSITORY = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
# Git's rules for names; the client makes a path of its cache of a revision
_REVISION = r"(?!\S*\.\.)[^\s\x00-\x1f\x7f~^:?*\[\\/]+(?:/[^\s\x00-\x1f\x7f~^:?*\[\\/]+)*"
_NAME = re.compile(rf"hf://({_REPOSITORY})(?:@({_REVISION}))?", re.ASCII)
_COMMIT = re.compile("[0-9a-f]{40}")
_SECONDS_TO_CONNECT = 5
# what an earlier model has there, and the new one perhaps not
_OUTDATED = ("model.safetensors", "search.safetensors", "labels.json", "encoder/*")
_OF_AN_EMPTY_ONE = {".gitattributes", "README.md"}  # what the hub's own page creates
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


class HubModel(NamedTuple):
    """A repository of the hub, and one of its revisions."""

    repo_id: str
    revision: str | None  # a branch, a tag or a commit; None: the default branch

    @classmethod
    def of(cls, repo_id: str, revision: str | None) -> HubModel:
        """A model by its parts.

        Raises
        ------
        ValueError
            If they are none.
        """
        return cls.named(f"{_PREFIX}{repo_id}" + ("" if revision is None else f"@{revision}"))

    @classmethod
    def named(cls, name: str) -> HubModel:
        """A model by its name.

        Raises
        ------
        ValueError
            If the name is none.
        """
        found = _NAME.fullmatch(name)
        if found is None:
            raise ValueError(
                f"{name!r} names no repository of the Hugging Face hub. Pass a name such as "
                f"'hf://owner/name' or 'hf://owner/name@revision'."
            )
        return cls(*found.groups())

    def __str__(self) -> str:
        return f"{_PREFIX}{self.repo_id}" + (f"@{self.revision}" if self.revision else "")


def is_out_of_reach() -> bool:
    """Whether there is no connection to the hub: its client would try for half a minute a file.

    One that is slow, or behind a proxy, is left to the client.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or getproxies():
        return False
    hub = urlsplit(constants.ENDPOINT)
    port = hub.port or (80 if hub.scheme == "http" else 443)
    try:
        socket.create_connection((hub.hostname, port), timeout=_SECONDS_TO_CONNECT).close()
    except TimeoutError:
        return False
    except OSError:
        return True
    return False


def local_folder(path: str, *, is_whole: bool = True) -> str:
    """The path; of a name on the hub, that of its folder in the hub's cache.

    First config.json is downloaded, then, unless `is_whole` is False, the files that it lists:
    nothing else, all of one commit, and none that is larger than config.json says. What the cache
    has is not downloaded.

    Raises
    ------
    OSError, ValueError
        If the name is none, or what it names cannot be downloaded or holds no model of ours.
    """
    if not path.startswith(_PREFIX):
        return path
    model = HubModel.named(path)
    is_local = is_out_of_reach()
    config = _fetched(model, CONFIG, LARGEST_CONFIG, is_local=is_local)
    root = config.parent  # named after its commit
    try:
        files = read_config(root)["files"]
    except ValueError as error:
        raise ValueError(f"{model} holds no model that this skxc reads: {error}") from error
    for name, entry in files.items() if is_whole else ():
        _fetched(model._replace(revision=root.name), name, entry["size"], is_local=is_local)
    return str(root)


def _fetched(model: HubModel, file: str, largest: int, *, is_local: bool) -> Path:
    """One file, in the hub's cache; it is downloaded if it has at most `largest` bytes."""
    from huggingface_hub import errors, hf_hub_download

    refused: Exception | None = None
    with _told(model, file):
        if not is_local and not _is_cached(model, file):
            try:
                _check_size(model, file, largest)
            except errors.EntryNotFoundError:
                raise
            except (getattr(errors, "HTTPError", OSError), OSError) as error:
                refused = error  # then the cache counts
        try:
            only_local = is_local or refused is not None
            place = hf_hub_download(
                model.repo_id, file, revision=model.revision, local_files_only=only_local
            )
        except errors.LocalEntryNotFoundError:
            if refused and getattr(refused, "response", None) is not None:  # the hub did answer
                raise refused from None
            raise
    return Path(place)


def _is_cached(model: HubModel, file: str) -> bool:
    """Whether the cache has a file of this very commit."""
    from huggingface_hub import try_to_load_from_cache

    if _COMMIT.fullmatch(model.revision or "") is None:
        return False
    return isinstance(try_to_load_from_cache(model.repo_id, file, revision=model.revision), str)


def _check_size(model: HubModel, file: str, largest: int) -> None:
    """Raise if the hub has a larger file, before it is downloaded."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(model.repo_id, file, revision=model.revision)
    size = get_hf_file_metadata(url).size or 0
    if size > largest:
        raise ValueError(
            f"{model} holds no model of skxc: {file} has {size:,} bytes, more than the {largest:,} "
            f"that it may have. Nothing of it was downloaded."
        )


def upload(folder: Path, model: HubModel, *, private: bool, message: str) -> str:
    """Upload a saved model in one commit; its name there, with the commit.

    Raises
    ------
    FileExistsError
        If the repository holds something else.
    OSError
        If the hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

    repo_id, revision = model
    if is_out_of_reach():
        raise OSError(f"{model}: there is no connection to the hub. Nothing was uploaded.")
    api = HfApi(library_name="skxc")
    with _told(model, to="upload"):
        replaced = _replaceable(api, model)
        if replaced is None:
            api.create_repo(repo_id, private=private, exist_ok=True)
            replaced = _replaceable(api, model)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, revision=replaced, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            revision=revision,
            commit_message=message,
            parent_commit=replaced,  # refused if somebody else uploads meanwhile
            delete_patterns=list(_OUTDATED),
        )
    return str(model._replace(revision=commit.oid))


def _replaceable(api: HfApi, model: HubModel) -> str | None:
    """The commit that an upload would replace, if nobody loses anything; None: no repository."""
    from huggingface_hub import errors

    try:
        found = api.model_info(model.repo_id, revision=model.revision)
    except errors.GatedRepoError:
        raise
    except errors.RepositoryNotFoundError:
        return None
    except errors.RevisionNotFoundError:  # the new branch will begin with what the default one has
        found = api.model_info(model.repo_id)
    commit, names = found.sha, {file.rfilename for file in found.siblings or ()}
    if CONFIG in names:
        _check_ours(model, commit)
    elif others := sorted(names - _OF_AN_EMPTY_ONE):
        _refuse(model, f"{others[0]!r:.100}, and no {CONFIG}")
    return commit


def _check_ours(model: HubModel, commit: str | None) -> None:
    """Raise if config.json there is somebody else's: its repository would lose it."""
    place = model._replace(revision=commit)
    try:
        read_config(_fetched(place, CONFIG, LARGEST_CONFIG, is_local=False).parent)
    except ValueError:
        _refuse(model, f"a {CONFIG} that this skxc does not read")


def _refuse(model: HubModel, what: str) -> NoReturn:
    raise FileExistsError(
        f"{model} holds something else than a model of skxc: {what}. Nothing was changed there. "
        f"Pass a repository that does not exist, is empty, or holds a model to be replaced."
    )


@contextmanager
def _told(model: HubModel, file: str = CONFIG, to: str = "download") -> Iterator[None]:
    """Errors of the hub's client, in words."""
    from huggingface_hub import constants, errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise PermissionError(
            f"{model}: access to this repository must be granted. Ask for it on its page, then "
            f"{_LOG_IN}."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"{model}: there is no such repository, or it is private. Check the name, or {_LOG_IN}."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise FileNotFoundError(
            f"{model}: the repository has no such revision. Pass a branch, a tag or a whole commit."
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise ConnectionError(
            f"{model}: {file} is not in the hub's cache, and the hub cannot be reached. Connect to "
            f"the internet, or pass the folder of a saved model."
        ) from error
    except errors.EntryNotFoundError as error:
        raise FileNotFoundError(
            f"{model} holds no model of skxc: {file} is missing. Pass a repository that "
            f"push_to_hub wrote."
        ) from error
    except (errors.HfHubHTTPError, getattr(errors, "HTTPError", OSError)) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise PermissionError(
                f"{model}: the hub refuses access. To {to}, {_LOG_IN}, with a token that may "
                f"{'write' if to == 'upload' else 'read'}."
            ) from error
        if status == 412:
            raise ConnectionError(
                f"{model}: somebody else changed the repository meanwhile. Nothing was uploaded. "
                f"Try again."
            ) from error
        reason = " ".join(str(error).split())[:300]
        raise ConnectionError(f"{model}: the hub answers with an error ({reason}).") from error
    except (JSONDecodeError, LookupError, TypeError, AttributeError) as error:  # of a web page
        raise ConnectionError(
            f"{model}: what answers at {constants.ENDPOINT} is not the hub ({error!r:.300}). Check "
            f"HF_ENDPOINT, and the proxy or login page of this network."
        ) from error
