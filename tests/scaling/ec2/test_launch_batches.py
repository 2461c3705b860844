"""Many launches at once: few calls, and one instance for each, whatever goes wrong."""

from __future__ import annotations

from twisted.internet.defer import succeed
from zope.interface.verify import verifyObject

from bbs.core.batching import GATHER
from bbs.scaling.ec2.instance_states import REMEMBERED
from bbs.scaling.ec2.launch_request import member
from bbs.scaling.ec2.launches import LISTED_AFTER_END, SETTLES
from bbs.scaling.ec2.throttle import NOT_ASKED
from bbs.scaling.interfaces import IMakesBatches, LaunchFailed, ProviderUnavailable
from tests.scaling.ec2.case import ProviderCase, no_answer
from tests.standins.ec2 import APIError

A2 = "t3.micro in s-2"


class BatchCase(ProviderCase):
    """Launches in one subnet."""

    subnets: tuple[str, ...] = ("s-1",)

    def setUp(self):
        super().setUp()
        self.provider = self.controller(subnet_ids=self.subnets)
        self.listed()
        self.provider.write_strategy = lambda *_: succeed(None)

    def batches(self, count, provider=None):
        """Launches as the fleet writes them down."""
        provider = provider or self.provider
        written = dict(provider.batches(provider.choose_strategies(count)))
        provider.know_strategies(written, ())
        return written

    def ask(self, ids, provider=None):
        """Ask for all at once; how each went."""
        launches = [(provider or self.provider).launch(id) for id in ids]
        self.clock.pump([GATHER] * 3 + [0.25] * 20)
        found: list[Exception | None] = []
        for launch in launches:
            launch.addCallbacks(lambda _: found.append(None), lambda why: found.append(why.value))
        self.assertEqual(len(found), len(launches), "not all were answered")
        return found

    def tags(self, id):
        return dict(self.ec2.instances[id].tags)

    def one_each(self, ids):
        """Each of the launches has one instance that lives, and there is no other."""
        self.listed()
        living = [i for i in self.successResultOf(self.provider.list()).values() if i.alive]
        self.assertEqual(sorted(i.launch_id for i in living), sorted(ids))
        self.assertEqual(len(self.alive()), len(living))


class Batches(BatchCase):
    subnets = ("s-1", "s-2")

    def test_one_call_for_all_that_are_alike(self):
        verifyObject(IMakesBatches, self.provider)
        written = self.batches(100)
        self.assertEqual(self.ask(written), [None] * 100)
        calls = self.ec2.named("RunInstances")
        asked = [(c["SubnetId"], c["MinCount"], c["MaxCount"], c["UserData"]) for c in calls]
        batches = [self.tags(f"i-{number}")["bbs:batch"] for number in (1, 100)]
        self.assertEqual(
            asked,
            [
                ("s-1", 50, 50, f"batch {batches[0]}"),
                ("s-2", 50, 50, f"batch {batches[1]}"),
            ],
        )
        self.one_each(written)
        for id, strategy in written.items():
            instance = self.provider.instance_of(id)
            self.assertTrue(strategy.startswith(f"{instance.pool}, "))

    def test_as_many_as_ec2_takes(self):
        """In calls of a size that it takes beside others', and as EC2 has tokens: for a thousand,
        and for two more each second."""
        launches = [self.provider.launch(id) for id in self.batches(2100)]
        calls = []
        for seconds in (GATHER, 24.0, 2.0, 123.0, 2.0, 400.0):
            self.clock.advance(seconds)
            calls.append([call["MaxCount"] for call in self.ec2.named("RunInstances")])
        self.assertEqual(calls[5], [250, 250, 250, 250, 50] * 2)
        self.assertEqual(calls[:5], [calls[5][:count] for count in (4, 4, 5, 5, 6)])
        for launch in launches:
            self.successResultOf(launch)

    def test_few_are_asked_for_one_by_one(self):
        self.assertEqual(self.batches(5), {})

    def test_one_that_is_alone_in_its_subnet(self):
        for number in range(6):
            self.ec2.instances[self.ec2.launch(f"x{number}")].subnet_id = "s-2"
        self.listed()
        written = self.batches(8)
        self.assertEqual(list(written.values()).count(A2), 1)
        self.assertEqual(self.ask(written), [None] * 8)

    def test_each_is_tagged_with_its_launch(self):
        """Once it is listed, and once only."""
        written = self.batches(6)
        self.ask(written)
        for _ in range(3):
            self.listed()
        self.assertEqual(len(self.ec2.named("CreateTags")), 6)
        launches = {self.tags(id)["bbs:launch"] for id in self.alive()}
        self.assertEqual(launches, set(written))
        self.one_each(written)

    def test_no_right_to_tag(self):
        """They are the fleet's all the same; it is asked for again later."""
        self.ec2.errors["CreateTags"] = [APIError("UnauthorizedOperation")] * 6
        written = self.batches(6)
        self.ask(written)
        for _ in range(3):
            self.listed()
        self.assertEqual(len(self.ec2.named("CreateTags")), 6)
        self.one_each(written)
        self.clock.advance(NOT_ASKED)
        self.listed()
        self.assertEqual(len(self.ec2.named("CreateTags")), 12)

    def test_tags_are_tried_again(self):
        self.ec2.errors["CreateTags"] = [APIError("InternalError")] * 3
        written = self.batches(6)
        self.ask(written)
        for _ in range(4):
            self.listed()
            self.clock.pump([0.05, 0.1, 0.2])
        self.assertEqual({self.tags(id).get("bbs:launch") for id in self.alive()}, set(written))


class Lacks(BatchCase):
    def test_all_or_none(self):
        """They fail where there is not room for all of them, and the next type is asked for. Once
        all lack capacity, they go one by one: there may be room for some."""
        self.ec2.room = 4
        for kind in ("t3.micro", "t3.small"):
            written = self.batches(6)
            self.assertTrue(all(way.startswith(f"{kind} in s-1, ") for way in written.values()))
            went = self.ask(written)
            self.assertEqual({type(error) for error in went}, {LaunchFailed})
            self.assertIn("InsufficientInstanceCapacity", str(went[0]))
        self.assertEqual(self.alive(), [])
        written = self.batches(6)
        self.assertEqual(set(written.values()), {"t3.micro in s-1"})
        self.assertEqual(self.ask(written), [None] * 6)

    def test_room_for_some(self):
        """A call that fails takes others with it, but not all."""
        run, rooms = self.ec2.run_instances, iter([1000, 1000, 4])

        def filling(**parameters):
            self.ec2.room = next(rooms)
            return run(**parameters)

        self.patch(self.ec2, "run_instances", filling)
        went = self.ask(self.batches(600))
        self.assertEqual(went.count(None), 500)

    def test_one_that_asks_later(self):
        """Others have failed, so it must not launch them after all."""
        self.ec2.lacks = {("t3.micro", "s-1", False)}
        written = self.batches(6)
        *others, last = written
        self.ask(others)
        self.ec2.lacks.clear()
        self.provider.forget_strategies([last])
        for _ in range(2):
            self.provider.know_strategies({last: written[last]}, ())
            [error] = self.ask([last])
            self.assertIsInstance(error, LaunchFailed)
        self.assertEqual(self.ec2.instances, {})
        self.provider.forget_strategies()
        self.assertEqual(self.provider._launches._void, {})

    def test_tokens_for_the_next_type(self):
        """What EC2 has not launched leaves others their turn: at once, and not in minutes."""
        self.ec2.lacks = {("t3.micro", "s-1", False)}
        self.ask(self.batches(1000))
        written = self.batches(1000)
        self.assertEqual(self.ask(written), [None] * 1000)
        self.one_each(written)

    def test_instances_without_numbers(self):
        """Of an API that is not quite EC2's: they cannot be told apart, and are launched one by
        one from then on."""
        run = self.ec2.run_instances

        def without_numbers(**parameters):
            launched = run(**parameters)["Instances"]
            return {"Instances": [{**each, "AmiLaunchIndex": 0} for each in launched]}

        self.patch(self.ec2, "run_instances", without_numbers)
        went = self.ask(self.batches(6))
        self.assertEqual([type(error) for error in went if error], [LaunchFailed] * 5)
        self.assertEqual(self.batches(6), {})

    def test_what_batches_are_refused_goes_one_by_one(self):
        """A role of before has no right to their tag, and a quota may count the whole."""
        for code in ("UnauthorizedOperation", "VcpuLimitExceeded"):
            self.ec2.errors["RunInstances"] = [APIError(code)] * 6
            went = self.ask(self.batches(6))
            # It is no refusal: one by one they may be launched.
            self.ec2.errors.clear()
            self.assertEqual({type(error) for error in went}, {LaunchFailed})
            self.assertEqual(self.batches(6), {})
            self.clock.advance(NOT_ASKED)
            self.assertEqual(len(self.batches(6)), 6)


class Unanswered(BatchCase):
    def lost(self):
        self.ec2.lost["RunInstances"] = [no_answer() for _ in range(3)]

    def test_asked_again(self):
        self.lost()
        written = self.batches(6)
        went = self.ask(written)
        self.assertEqual({type(error) for error in went}, {ProviderUnavailable})
        self.assertEqual(self.ask(written), [None] * 6)
        self.one_each(written)

    def test_as_many_as_ec2_takes_asked_again(self):
        """They are not counted twice, which would take minutes."""
        self.lost()
        written = self.batches(1000)
        self.ask(written)
        self.assertEqual(self.ask(written), [None] * 1000)

    def test_by_another_controller(self):
        """It knows what is written down alone, and no list has them yet."""
        self.lost()
        written = self.batches(6)
        self.ask(written)
        self.ec2.hidden = set(self.ec2.instances)
        successor = self.controller(subnet_ids=self.subnets)
        successor.know_strategies(written, set(written))
        self.assertEqual(self.ask(written, successor), [None] * 6)
        self.ec2.hidden = set()
        self.one_each(written)

    def test_by_one_with_other_user_data(self):
        """EC2 then says that the token is used, and they are looked for by their batch."""
        self.lost()
        written = self.batches(6)
        self.ask(written)
        successor = self.controller(subnet_ids=self.subnets, key_name="another")
        successor.know_strategies(written, set(written))
        self.assertEqual(self.ask(written, successor), [None] * 6)
        self.one_each(written)

    def test_one_has_ended_meanwhile(self):
        """None is launched again, and the others are found. What is not listed may have ended or
        be late, which is known once what has ended is not listed any more."""
        self.lost()
        written = self.batches(6)
        self.ask(written)
        self.ec2.become("i-1", "terminated")
        self.ec2.unlisted = {"i-1"}
        successor = self.controller(subnet_ids=self.subnets)
        for wait, expected in (
            (0, {None, ProviderUnavailable}),
            (LISTED_AFTER_END - 60, {None, ProviderUnavailable}),
            (60, {None}),
        ):
            self.clock.advance(wait)
            self.listed(successor)
            successor.know_strategies(written, set(written))
            went = self.ask(written, successor)
            self.assertEqual({error and type(error) for error in went}, expected)
        self.assertEqual(len(self.ec2.instances), 6)

    def test_one_is_listed_as_ended(self):
        """Its token need not be asked, and may be forgotten."""
        self.lost()
        written = self.batches(6)
        self.ask(written)
        self.ec2.become("i-1", "terminated")
        self.ec2.tokens.forget()
        self.ec2.unlisted = {"i-2"}
        successor = self.controller(subnet_ids=self.subnets)
        successor.know_strategies(written, set(written))
        self.listed(successor)
        self.assertEqual(
            {e and type(e) for e in self.ask(written, successor)}, {None, ProviderUnavailable}
        )
        self.ec2.unlisted = set()
        self.assertEqual(self.ask(written, successor), [None] * 6)
        self.assertEqual(len(self.ec2.instances), 6)

    def test_a_lack_after_a_call_without_an_answer(self):
        """The call may still be carried out, so they do not fail before that is settled, even if
        one of them is not wanted any more."""
        self.ec2.errors["RunInstances"] = [no_answer() for _ in range(3)]
        first, *others = self.batches(6)
        self.ask([first, *others])
        self.successResultOf(self.end(first))
        self.ec2.lacks = {("t3.micro", "s-1", False)}
        self.assertEqual({type(e) for e in self.ask(others)}, {ProviderUnavailable})
        self.clock.advance(SETTLES)
        self.assertEqual({type(e) for e in self.ask(others)}, {LaunchFailed})

    def test_one_is_known_already(self):
        """The others are looked for by their batch all the same."""
        self.lost()
        written = self.batches(6)
        self.ask(written)
        self.ec2.unlisted = {f"i-{number}" for number in range(2, 7)}
        successor = self.controller(subnet_ids=self.subnets, key_name="another")
        self.listed(successor)
        successor.know_strategies(written, set(written))
        self.ec2.unlisted = set()
        self.assertEqual(self.ask(written, successor), [None] * 6)
        self.one_each(written)

    def test_by_one_whose_template_is_for_one_launch(self):
        """Instances that do not know which launch they are would only end again."""
        for lost in (True, False):
            if lost:
                self.lost()
            else:
                self.ec2.errors["RunInstances"] = [no_answer() for _ in range(3)]
            written = self.batches(6)
            self.ask(written)
            launched = len(self.ec2.instances)
            successor = self.controller(subnet_ids=self.subnets)
            successor.batch_user_data = None
            successor.know_strategies(written, set(written))
            went = self.ask(written, successor)
            self.assertEqual({e and type(e) for e in went}, {None if lost else ProviderUnavailable})
            self.clock.advance(SETTLES)
            went = self.ask(written, successor)
            self.assertEqual({e and type(e) for e in went}, {None if lost else LaunchFailed})
            self.assertEqual(len(self.ec2.instances), launched)

    def test_that_have_left_the_configuration(self):
        self.lost()
        written = self.batches(6)
        self.ask(written)
        successor = self.controller(subnet_ids=("s-2",))
        successor.know_strategies(written, set(written))
        self.listed(successor)
        self.assertEqual(len(self.ec2.instances), 6)
        self.clock.advance(REMEMBERED)
        self.one_each(written)

    def test_ids_follow_from_the_batch(self):
        """The instance's script makes them so, too."""
        self.assertEqual(member("0" * 32, 7), "03ce5173eba2128b201ffe7abbb3aff3")
