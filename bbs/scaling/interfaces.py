"""The interfaces of a provider of app servers: launch one, list them, end one.

A provider starts app servers somewhere: as child processes (`bbs.scaling.local`), on EC2, in
memory for tests (`bbs.testing.provider`). It knows nothing of places, people or plans. Every launch
has an id, made by the fleet before it asks; the id is what makes asking again harmless. Each
provider passes the contract suite in `bbs/testing/provider_contract.py`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from bbs.core.values import Instance


class ProviderUnavailable(Exception):
    """The provider cannot be asked now: out of reach, throttled, or it does not answer in time.

    What was asked may have been done all the same. The text is one line for operators.
    """


class LaunchFailed(Exception):
    """A launch did not happen; asked later it may. The text is one line for operators."""


class LaunchRefused(LaunchFailed):
    """A launch did not happen, and none will until an operator has done what the text says."""


class IProvider(IService):
    """Starts and ends app servers.

    It is a service. It launches only between `startService` and `stopService`; what becomes of its
    instances when it stops is the provider's matter: children end with it, machines in a cloud
    live on for the next controller of the fleet.
    """

    scope: str = Attribute(
        """Which launches this provider can speak of, e.g. `local:<process identity>`. For a launch
        that was made under this scope, absence from `list` means something; for one that was made
        under another scope this provider knows nothing."""
    )

    shared: bool = Attribute(
        """Whether other processes' providers of this scope have the same launches, and these
        outlive them all: a cloud. The `list` of such a provider may lag behind the truth for
        seconds: a launch that it does not show may be there. Where it is not shared, `list` is
        the truth."""
    )

    when_changed: Callable[[], None] | None = Attribute(
        """Called, without arguments, at once when an instance has started or ended, as far as the
        provider comes to know of it by itself. It may be called while `launch` or `terminate`
        still runs. What it raises is logged and goes no further."""
    )

    def startService() -> None:
        """Launches may be asked for from now on."""

    def stopService() -> Deferred[None] | None:
        """No more launches; fires when what ends with the provider has ended."""

    def launch(launch_id: str) -> Deferred[None]:
        """Start an app server under `launch_id`: letters, digits, `-` and `_`, at most 64.

        Idempotent by id: asked again, it starts nothing and fires as the first time, also after
        the instance has ended. The fleet relies on that to find the machine of a server that has
        served and that lists lack: it asks for the launch again, and then for its end.

        The Deferred fires when the launch is accepted and `list` tells of it, if not at once
        (`shared`). It fails with `LaunchFailed`, and then this call started nothing; or with
        `ProviderUnavailable`, and then it may have, and asking again tells.
        """

    def list() -> Deferred[Mapping[str, Instance]]:
        """The launches of this provider's scope, by id.

        What has ended stays listed, `alive=False`, for a while that each provider states, bounded
        in number or time. The mapping is the caller's: it does not change later. It fails with
        `ProviderUnavailable` when they cannot be had, and then nothing is known of any.
        """

    def terminate(launch_id: str) -> Deferred[None]:
        """End the instance of a launch. Idempotent; an unknown id is well ended.

        The Deferred fires when the end is certain without another call: `list` does not show it
        alive any more, if not at once (`shared`). That can take seconds, so wait for several at
        once, not one after another. It fails with `ProviderUnavailable`; ask again then.
        """


class IKeepsWarm(Interface):
    """A provider that can stop an app server's machine, and start it again faster than another."""

    def launch_to_stop(launch_id: str) -> Deferred[None]:
        """As `IProvider.launch`, where the machine will be stopped: not one that cannot be, as a
        Spot instance."""

    def stop(launch_id: str) -> Deferred[None]:
        """Stop the machine of a launch, which stays: `list` tells of it, `stopped`, and neither
        alive nor ended. Idempotent. It fails with `ProviderUnavailable`; ask again then, or with
        `LaunchFailed`: it cannot be stopped, or is not there."""

    def start(launch_id: str) -> Deferred[None]:
        """Start it again. Idempotent. It fails as `IProvider.launch` does."""


class IEndsUnlisted(Interface):
    """A provider that can end a machine of which its list says nothing, by what it calls it: a list
    may lack one for longer than it should."""

    def end_unlisted(instance_id: str) -> Deferred[None]:
        """End the machine that `Instance.instance_id` named. Idempotent; one that is not there is
        well ended. It fails as `IProvider.terminate` does."""


class IHasStrategies(Interface):
    """A provider that can make a launch by several strategies, one after the other, under another
    token each: so two controllers that took different ones for one launch would make it twice.

    The fleet writes the strategy of a launch down before it is asked for. Whoever goes on with the
    launch begins there, and all strategies before it have been refused. A strategy is one line, of
    at most 200 characters.
    """

    write_strategy: Callable[[str, str | None, str], Deferred[None]] | None = Attribute(
        """Set by the fleet. Called with a launch's id, the strategy that is written down, None if
        none is, and the one to come; what is to come may be asked for when it has fired. What it
        fails with is for who called `launch`: then it must not be asked for."""
    )

    def choose_strategies(count: int, to_stop: bool = False) -> Sequence[str]:
        """The best first strategy for each of so many launches, of those that will be stopped
        (`IKeepsWarm`) or others."""

    def know_strategies(written: Mapping[str, str], asked: Collection[str]) -> None:
        """Learn what is written down of launches, by id; for those that are `asked` another
        controller may have asked. Strategies that this provider has just had written down stay."""

    def forget_strategies(kept: Collection[str] = ()) -> None:
        """Forget all launches but those that are `kept`: they are over, or another controller goes
        on with them."""


class IKeepsLogs(Interface):
    """A provider whose app servers keep logs on this machine, if it says so."""

    def reopen_logs() -> None:
        """Have them go on in the files that are at their places now: others were moved away."""


class IFleetController(Interface):
    """This login server's part in keeping the fleet."""

    keeping: bool = Attribute("Whether it holds the lease; else another login server does.")

    def look_soon() -> None:
        """Begin a round at once, or another one after the present round."""
