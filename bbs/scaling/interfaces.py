"""The interfaces of a provider of app servers: launch one, list them, end one. The interfaces of
its machine are here, too.

A provider starts app servers as child processes (`bbs.scaling.local`), in a cloud, or in memory for
tests (`bbs.testing.provider`). Places, people and plans are not its matter. The fleet makes an id
for every launch before it asks for it; because of the id, asking again is harmless.

Every provider has `IProvider`. The fleet looks which of the other interfaces it has as well, and
asks for what they give. Each has a contract suite in `bbs.testing`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from bbs.core.values import Instance


class ProviderUnavailable(Exception):
    """The provider cannot be asked now: out of reach, throttled, or too slow to answer. The call
    may have been carried out all the same. The text is one line for operators."""


class LaunchFailed(Exception):
    """A launch failed; a later try may succeed. The text is one line for operators."""


class LaunchRefused(LaunchFailed):
    """A launch failed, and all will until an operator has done what the text says."""


class MachineUnavailable(Exception):
    """A machine cannot be asked about itself now. The text is one line for operators."""


@dataclass(frozen=True)
class MachineNotice:
    """A machine will be taken away. `why` says so in a few words for operators. If it is not
    `certain`, the provider only may want the machine back."""

    why: str
    certain: bool = True


class IProvider(IService):
    """A service that starts and ends app servers. A provider launches only between `startService`
    and `stopService`, and decides what becomes of its instances when it stops: children end with
    it, machines in a cloud live on for the next controller of the fleet."""

    scope: str = Attribute(
        """The launches that this provider knows, e.g. `local:<process identity>`. It begins with
        the provider's name and a colon. If a launch was made under this scope, its absence from
        `list` means something; of launches of other scopes this provider knows nothing."""
    )

    shared: bool = Attribute(
        """Whether other processes' providers of this scope have the same launches, which outlive
        them all, as in a cloud. `list` of a shared provider may be seconds behind: a launch that it
        does not show may exist. If a provider is not shared, `list` is the truth."""
    )

    when_changed: Callable[[], None] | None = Attribute(
        """Called without arguments as soon as the provider learns by itself that an instance has
        started or ended, perhaps while `launch` or `terminate` still runs. An exception of it is
        logged and goes no further."""
    )

    def startService() -> None:
        """Allow launches."""

    def stopService() -> Deferred[None] | None:
        """Allow no more launches; fires when all that ends with the provider has ended."""

    def launch(launch_id: str) -> Deferred[None]:
        """Start an app server under `launch_id`: letters, digits, `-` and `_`, at most 64.

        Idempotent by id: asked again, the provider starts nothing and fires as the first time, even
        after the instance has ended. The fleet relies on that to find the machine of a server that
        has served and that lists lack: it asks for the launch again, and then for its end.

        The Deferred fires when the launch is accepted and `list` shows it, perhaps later if
        `shared`. On `LaunchFailed` this call started nothing. On `ProviderUnavailable` it may have;
        to find out, ask again.
        """

    def list() -> Deferred[Mapping[str, Instance]]:
        """The launches of this provider's scope, by id.

        Ended launches stay listed with `alive=False`; each provider says how many, or for how long.
        The mapping belongs to the caller and does not change later. On `ProviderUnavailable`
        nothing is known of any launch.
        """

    def terminate(launch_id: str) -> Deferred[None]:
        """End the instance of the launch `launch_id`. Idempotent; an unknown id counts as ended. On
        `ProviderUnavailable`, ask again.

        The Deferred fires when the end is certain without another call, and `list` no longer shows
        the instance alive, perhaps later if `shared`. That can take seconds, so wait for several at
        once.
        """


class IKeepsWarm(Interface):
    """A provider that can stop an app server's machine, and start it faster than a new one. Each
    `launch_id` is as `IProvider.launch` has it."""

    def launch_to_stop(launch_id: str) -> Deferred[None]:
        """Launch as `IProvider.launch` does, on a machine that can be stopped (no Spot
        instance)."""

    def stop(launch_id: str) -> Deferred[None]:
        """Stop the machine of a launch but keep it: `list` shows it as `stopped`, neither alive nor
        ended. Idempotent. On `ProviderUnavailable`, ask again. `LaunchFailed`: the machine cannot
        be stopped, or is missing."""

    def start(launch_id: str) -> Deferred[None]:
        """Start the stopped machine. Idempotent. Fails as `IProvider.launch` does."""


class IEndsUnlisted(Interface):
    """A provider that can end a machine by the provider's own name for it, because its list may
    lack a machine for longer than it should."""

    def end_unlisted(instance_id: str) -> Deferred[None]:
        """End the machine that `Instance.instance_id` named. Idempotent; a missing machine counts
        as ended. Fails as `IProvider.terminate` does."""


class IKnowsInstances(Interface):
    """A provider that learns its own name for a machine with the answer to a launch."""

    def instance_of(launch_id: str) -> Instance | None:
        """The instance of the accepted launch `launch_id`, as far as it is known without another
        call; None if it is not."""


class IHasStrategies(Interface):
    """A provider that can make a launch by several strategies, one after the other, each under its
    own token. Two controllers that took different strategies for one launch would make it twice.

    The fleet therefore stores the strategy of a launch before the provider asks for it, and a
    controller that takes the launch over begins with it; earlier ones have been refused. A strategy
    is one line of at most 200 characters.
    """

    write_strategy: Callable[[str, str | None, str], Deferred[None]] | None = Attribute(
        """Set by the fleet. Called with a launch's id, the strategy that is written down (None if
        none is) and the next one. The provider may use the next one once the Deferred has fired; if
        it fails, the provider must not, and `launch` fails with the same error."""
    )

    def choose_strategies(count: int, to_stop: bool = False) -> Sequence[str]:
        """The best first strategy for each of `count` launches; `to_stop`: as in `IKeepsWarm`."""

    def know_strategies(written: Mapping[str, str], asked: Collection[str]) -> None:
        """Learn the strategies that are written down, by launch id. Another controller may already
        have asked for the launches in `asked`. Strategies that this provider has just had written
        down stay."""

    def forget_strategies(kept: Collection[str] = ()) -> None:
        """Forget all launches but `kept`: they have ended, or another controller continues them."""


class IMakesBatches(IHasStrategies):
    """A provider that asks for several launches in one call, if it may choose their ids."""

    def batches(strategies: Sequence[str]) -> Sequence[tuple[str, str]]:
        """Ids, each with the strategy to write down, for launches that are made together by such
        first `strategies`; in any order. Empty if they are better made one by one."""


class IHasPools(IHasStrategies):
    """A provider whose strategies take machines from several pools of capacity, in zones that may
    fail each by itself. The fleet knows which launches served, and so says what to prefer."""

    pools: Mapping[str, str] = Attribute(
        """The zone of each strategy that asks for one pool. A strategy may leave open which of
        several it takes; `Instance.pool` then says it, and the fleet stores both: `POOL, STRATEGY`.
        """
    )

    lacking_pools: Collection[str] = Attribute(
        """The pools that had no capacity a moment ago, and so are not asked now."""
    )

    def prefer(doubts: Mapping[str, float], staying: Mapping[str, int], in_two_zones: bool) -> None:
        """Choose by this from now on: first pools without `doubts` (a number from 0 on for each
        that has any), and of these one in the zone with the fewest servers that are `staying`. If
        all are in one zone and are to be `in_two_zones`, a dearer pool in another comes first."""


class IKeepsLogs(Interface):
    """A provider whose app servers may keep logs on this machine."""

    def reopen_logs() -> None:
        """Have app servers reopen their log files, because the old files were moved away."""


class IMachine(Interface):
    """The machine that an app server runs on, if its provider launched it.

    The app server asks at its start, and later again until it knows. A question that fails is asked
    again, whatever it fails with. One that has no answer after ten seconds is cancelled, and counts
    as failed. Without answers the app server serves all the same. The fleet then has its address
    from the provider's list, and hears of no notice. No method may block the reactor. Each may be a
    coroutine function.
    """

    notice_interval: float = Attribute(
        """Seconds until the next look for a notice; read after each. At least one passes."""
    )

    def address() -> Deferred[str | None]:
        """The host name or address at which people reach this machine; None if it has none yet, or
        leaves that to the provider's list. `MachineUnavailable` if it cannot be known now."""

    def instance_id() -> Deferred[str | None]:
        """The provider's own name for this machine, as `Instance.instance_id` has it; None if it
        has none. Fails as `address` does."""

    def zone() -> Deferred[str | None]:
        """The zone that this machine is in, for the log of the app server; None if there are none.
        Fails as `address` does."""

    def notice() -> Deferred[MachineNotice | None]:
        """The notice that this machine will be taken away; None while there is none. The fleet then
        moves people to another server, sooner or later as the notice is `certain` or not. Fails as
        `address` does."""


class IFleetController(Interface):
    """This login server's controller of the fleet."""

    is_leader: bool = Attribute("Whether this controller holds the lease, and no other does.")

    def look_soon() -> None:
        """Begin a round at once, or another one after the present round."""
