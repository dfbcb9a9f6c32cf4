"""What happens to codes, one line a story, and the verdict that each must get.

Minutes count from noon, when the code was asked for. The policy is the default: on the lock within 10 minutes,
2 minutes of grace after a start, off within 30, a second look after 2.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.domain.assessment import SEVERITIES, FlagKind, Severity
from app.domain.codes import Binding
from app.domain.health import AccountFacet, DeviceFacet, DeviceRead
from app.domain.news import IssueSource, NewsKind
from tests.domain.stories import (
    OTHER_PIN,
    Story,
    absent,
    at,
    delayed,
    error,
    failed,
    health,
    news,
    ongoing,
    removed,
    scheduled,
    set_on,
    shows,
    shows_on,
    shows_setting,
    shows_unset,
    stay,
    unreadable,
    warning,
)

DAY = 1440
REQUESTED = {"binding": Binding.REQUESTED, "asked_at": None, "access_code_id": None}

ONGOING = [
    Story("just asked for", ongoing(), (), 1, "pending"),
    Story("set on the lock", ongoing(), (set_on(1),), 2, "verified"),
    Story("seen on by a read alone, the webhook is lost", ongoing(), (shows_on(3),), 4, "verified"),
    Story("later reads do not erase what was seen", ongoing(), (shows_on(3), shows_setting(5)), 6, "verified"),
    Story("the deadline passed, nobody asked Seam yet: not accused", ongoing(), (), 11, "pending", asks=True),
    Story("the deadline passed and Seam says setting", ongoing(), (shows_setting(10),), 11, "stuck", "stuck"),
    Story("a read from before the deadline proves nothing", ongoing(), (shows_setting(9),), 11, "pending", asks=True),
    Story("Seam cannot be read at the deadline", ongoing(), (unreadable(10.5),), 11, "unknown", "unknown", asks=True),
    Story("Seam answers again after being unreadable", ongoing(), (unreadable(10.5), shows_on(12)), 13, "verified"),
    Story("set after it was called stuck", ongoing(), (shows_setting(10), set_on(20)), 21, "verified"),
    Story("a longer deadline of its own", ongoing(set_within=timedelta(hours=1)), (), 30, "pending"),
    Story("slow, and Seam says so", ongoing(), (delayed(5),), 6, "delayed", "delayed"),
    Story("slow, then set", ongoing(), (delayed(5), set_on(7)), 8, "verified"),
    Story("told of the delay after it was set", ongoing(), (set_on(5), delayed(9)), 10, "verified"),
    Story("slow past its deadline", ongoing(), (delayed(5), shows_setting(10)), 11, "stuck", "stuck"),
    Story("failed", ongoing(), (failed(4, error("no_space_for_access_code_on_device")),), 5, "failed", "failed"),
    Story("failed, then set after all", ongoing(), (failed(4), set_on(6)), 7, "verified"),
    Story("set, then failed", ongoing(), (set_on(4), failed(6)), 7, "failed", "failed"),
    Story("failed, then the lock scheduled it", stay(60, 120), (failed(4), scheduled(6)), 7, "scheduled"),
    Story("a read shows the failure that no event told of", ongoing(),
          (shows_setting(5, errors=(error("failed_to_set_on_device"),)),), 6, "failed", "failed"),
    Story("a lasting error in a read does not pass for on", ongoing(),
          (shows_on(5, errors=(error("duplicate_code_on_device"),)),), 6, "failed", "failed"),
    Story("an error nobody knows does not pass for on", ongoing(),
          (shows_on(10, errors=(error("brand_new_trouble"),)),), 11, "stuck", "stuck"),
    Story("the lock being offline does not take a code off it", ongoing(),
          (shows_on(5, errors=(error("device_offline", IssueSource.DEVICE),)),), 6, "verified"),
    Story("no pending mutations in the answer: the status decides", ongoing(),
          (shows(5, status="set", pending=None),), 6, "verified"),
    Story("neither pending mutations nor a status: nothing is known", ongoing(),
          (shows(10, status=None, pending=None),), 11, "stuck", "stuck"),
]  # fmt: skip

TIES = [
    Story("set and removed in one instant: off counts, Seam is asked", ongoing(), (set_on(5), removed(5)), 6,
          "pending", asks=True),
    Story("failed and set in one instant: failed counts, Seam is asked", ongoing(), (set_on(5), failed(5)), 6,
          "failed", "failed", asks=True),
    Story("set and delayed in one instant: set counts, Seam is asked", ongoing(), (set_on(5), delayed(5)), 6,
          "verified", asks=True),
    Story("a tie that Seam has settled since", ongoing(), (set_on(5), removed(5), shows_on(6)), 7, "verified"),
]  # fmt: skip

STAYS = [
    Story("days before the arrival", stay(3 * DAY, 4 * DAY), (), 5, "upcoming"),
    Story("unset before the start is normal", stay(600, 900), (shows_unset(300),), 301, "upcoming"),
    Story("deferred until nearer the start", stay(600, 900),
          (shows(5, status="unset", pending=("deferring_creation",)),), 6, "upcoming"),
    Story("programmed just in time, before the start", stay(600, 900), (shows_setting(560),), 561, "pending"),
    Story("set just in time, before the start", stay(600, 900), (set_on(570),), 571, "verified"),
    Story("in the lock's memory", stay(600, 900), (scheduled(20),), 30, "scheduled"),
    Story("in the lock's memory, by a read alone", stay(600, 900), (shows_unset(20, is_scheduled_on_device=True),), 30,
          "scheduled"),
    Story("native scheduling: set at the start", stay(600, 900), (scheduled(20), set_on(600)), 601, "verified"),
    Story("scheduled, the start has come, the deadline not", stay(600, 900), (scheduled(20),), 601, "scheduled"),
    Story("scheduled and never active", stay(600, 900), (scheduled(20), shows_unset(602)), 603, "stuck", "stuck"),
    Story("asked for after its start: the later deadline counts", stay(-60, 600), (shows_setting(5),), 6, "pending"),
    Story("just after the start: grace", stay(600, 900), (shows_setting(601),), 601.5, "pending"),
    Story("the guest stands at the door", stay(600, 900), (shows_setting(602),), 603, "stuck", "stuck"),
    Story("scheduled, and the keypad is dead", stay(600, 900), (scheduled(20),), 30, "scheduled", "at_risk",
          asks=True, health=health((25, DeviceFacet.KEYPAD, "disconnected"))),
    Story("scheduled, and the lock is merely offline", stay(600, 900), (scheduled(20),), 590, "scheduled",
          health=health((25, DeviceFacet.CONNECTION, "disconnected"))),
    Story("the lock is offline a day before the start", stay(DAY, 2 * DAY), (), 30, "upcoming",
          health=health((25, DeviceFacet.CONNECTION, "disconnected"))),
    Story("the lock is offline an hour before the start", stay(600, 900), (), 545, "at_risk", "at_risk",
          asks=True, health=health((25, DeviceFacet.CONNECTION, "disconnected"))),
    Story("the lock came back", stay(600, 900), (), 545, "upcoming",
          health=health((25, DeviceFacet.CONNECTION, "disconnected"),
                        read=DeviceRead(at(30), "lock_1", online=True))),
    Story("offline by the lock's own object", stay(600, 900), (), 545, "at_risk", "at_risk",
          asks=True, health=health(read=DeviceRead(at(30), "lock_1", online=False))),
    Story("the account is away before the start", stay(600, 900), (), 545, "at_risk", "at_risk",
          asks=True, health=health((25, AccountFacet.CONNECTION, "disconnected"))),
    Story("the slots are full before the start", stay(600, 900),
          (shows_setting(20, errors=(error("no_space_for_access_code_on_device"),)),), 21, "at_risk", "at_risk"),
    Story("Seam lost the code before the start", stay(600, 900), (absent(20),), 21, "at_risk", "at_risk"),
    Story("a native lock has not loaded it by its preload deadline", stay(3 * DAY, 4 * DAY, schedules_natively=True),
          (shows_unset(2 * DAY + 1),), 2 * DAY + 2, "at_risk", "at_risk"),
    Story("the preload deadline passed, Seam was not asked", stay(3 * DAY, 4 * DAY, schedules_natively=True), (),
          2 * DAY + 2, "upcoming", asks=True),
    Story("Seam cannot be read at the preload deadline", stay(3 * DAY, 4 * DAY, schedules_natively=True),
          (unreadable(2 * DAY + 1),), 2 * DAY + 2, "unknown", "unknown", asks=True),
    Story("a lock that is programmed just in time needs no preload", stay(3 * DAY, 4 * DAY, schedules_natively=False),
          (shows_unset(2 * DAY + 1),), 2 * DAY + 2, "upcoming"),
]  # fmt: skip

ENDS = [
    Story("the window ended, removal runs", stay(60, 120), (set_on(60),), 121, "removing"),
    Story("the window ended and the lock confirmed", stay(60, 120), (set_on(60), removed(121)), 122, "removed"),
    Story("the window ended, Seam shows nothing left", stay(60, 120), (set_on(60), shows_unset(125)), 126, "removed"),
    Story("the window ended, Seam still says set", stay(60, 120), (set_on(60), shows_on(150)), 151,
          "lingering", "lingering"),
    Story("the window ended, Seam is still deleting", stay(60, 120),
          (set_on(60), shows(150, status="removing", pending=("deleting",))), 151, "lingering", "lingering"),
    Story("removal is late, Seam was not asked", stay(60, 120), (set_on(60),), 151, "removing", asks=True),
    Story("removal is late, Seam cannot be read", stay(60, 120), (set_on(60), unreadable(150)), 151,
          "unknown", "unknown", asks=True),
    Story("Seam reports that removal failed", stay(60, 120), (set_on(60), news(125, NewsKind.FAILED_TO_REMOVE)), 126,
          "lingering", "lingering", asks=True),
    Story("removal failed, then worked", stay(60, 120),
          (set_on(60), news(125, NewsKind.FAILED_TO_REMOVE), removed(140)), 141, "removed"),
    Story("a shifted clock keeps it an hour: not lingering yet", stay(60, 120),
          (set_on(60), shows(150, status="removing", pending=("deleting",),
                             warnings=(warning("time_frame_adjusted_for_unknown_time_zone"),))), 160, "removing"),
    Story("the end was asked for", ongoing(end_asked_at=at(50)), (set_on(1),), 51, "removing"),
    Story("the end was asked for and confirmed", ongoing(end_asked_at=at(50)), (set_on(1), removed(51)), 52, "removed"),
    Story("the end was asked for, Seam has it no more", ongoing(end_asked_at=at(50)), (set_on(1), absent(52)), 53,
          "removed"),
    Story("an asked end is not confirmed by a mere unset", ongoing(end_asked_at=at(50)), (set_on(1), shows_unset(52)),
          53, "removing"),
    Story("taken off in the vendor's app long before the end was asked for", ongoing(end_asked_at=at(50)),
          (set_on(1), news(20, NewsKind.DELETED_EXTERNALLY)), 51, "removing"),
    Story("asked to go before it ever was on", ongoing(end_asked_at=at(5)), (news(6, NewsKind.DELETED),), 7, "removed"),
    Story("the lock never lets go", ongoing(end_asked_at=at(50)), (set_on(1), shows_on(81)), 82,
          "lingering", "lingering"),
    Story("deleted at Seam by somebody else", ongoing(), (set_on(1), news(30, NewsKind.DELETED)), 31, "removed"),
    Story("a one-time code was used", ongoing(is_one_time_use=True), (set_on(1), news(9, NewsKind.USED)), 10,
          "removed"),
    Story("an ordinary code was used", ongoing(), (set_on(1), news(9, NewsKind.USED)), 10, "verified"),
    Story("the window passed and it never was on", stay(60, 120), (shows_unset(121),), 122, "missed", "missed"),
    Story("the window passed, Seam was not asked since", stay(60, 120), (shows_setting(63),), 121, "stuck", "stuck",
          asks=True),
    Story("the window passed, Seam cannot be read", stay(60, 120), (unreadable(121),), 122, "unknown", "unknown",
          asks=True),
    Story("never on, and tidied up by Seam after its end", stay(60, 120), (news(121, NewsKind.DELETED), absent(122)),
          123, "missed", "missed"),
    Story("failed all the way", stay(60, 120), (failed(61), shows_unset(121)), 122, "missed", "missed"),
    Story("the end was asked for a code that never was on, its window over", stay(60, 120, end_asked_at=at(30)),
          (news(31, NewsKind.DELETED),), 130, "removed"),
]  # fmt: skip

TROUBLE = [
    Story("taken off in the vendor's app: Seam is asked", ongoing(), (set_on(1), news(30, NewsKind.DELETED_EXTERNALLY)),
          31, "pending", asks=True),
    Story("taken off, Seam sets it again", ongoing(),
          (set_on(1), news(30, NewsKind.DELETED_EXTERNALLY), set_on(32)), 33, "verified"),
    Story("taken off, one look is not enough", ongoing(), (set_on(1), removed(30), shows_unset(31)), 32, "pending"),
    Story("taken off, two looks too near each other", ongoing(),
          (set_on(1), removed(30), shows_unset(31), shows_unset(32)), 32.5, "pending"),
    Story("taken off, two looks minutes apart", ongoing(), (set_on(1), removed(30), shows_unset(31), shows_unset(33.5)),
          34, "lost", "lost"),
    Story("gone at Seam, two looks minutes apart", ongoing(), (set_on(1), absent(31), absent(34)), 35, "lost", "lost"),
    Story("the second look finds it on again", ongoing(), (set_on(1), removed(30), shows_unset(31), shows_on(34)), 35,
          "verified"),
    Story("taken off, and Seam cannot be read", ongoing(), (set_on(1), removed(30), unreadable(31)), 32,
          "unknown", "unknown", asks=True),
    Story("the account went away", ongoing(), (set_on(1),), 40, "unknown", "unknown",
          asks=True, health=health((30, AccountFacet.CONNECTION, "disconnected"))),
    Story("the account came back", ongoing(), (set_on(1),), 40, "verified",
          health=health((30, AccountFacet.CONNECTION, "connected"))),
    Story("set after the account went away", ongoing(), (set_on(35),), 40, "verified",
          health=health((30, AccountFacet.CONNECTION, "disconnected"))),
    Story("the lock was removed from Seam", ongoing(), (set_on(1),), 40, "unknown", "unknown",
          asks=True, health=health((30, DeviceFacet.PRESENCE, "removed"))),
    Story("Seam's own status is unknown", ongoing(), (set_on(1), shows(30, status="unknown", pending=())), 31,
          "unknown", "unknown"),
    Story("the code is not managed any more", ongoing(), (set_on(1), shows(30, is_managed=False)), 31,
          "unknown", "unknown"),
    Story("another PIN is on the lock", ongoing(), (set_on(1, OTHER_PIN),), 2, "mismatched", "mismatched"),
    Story("another PIN is in the lock's memory", stay(600, 900), (scheduled(1, OTHER_PIN),), 2,
          "mismatched", "mismatched"),
    Story("a fingerprint of another key cannot be compared", ongoing(), (set_on(1, "k2:right"),), 2, "verified"),
    Story("Seam's object repeating our PIN does not excuse the lock", ongoing(), (set_on(1, OTHER_PIN), shows_on(3)), 4,
          "mismatched", "mismatched"),
    Story("the right PIN set after the wrong one", ongoing(), (set_on(1, OTHER_PIN), set_on(5)), 6, "verified"),
    Story("the wrong PIN was from before this intent", ongoing(asked_at=at(10)),
          (set_on(1, OTHER_PIN), set_on(12)), 13, "verified"),
    Story("Seam shows another PIN, and nobody changed it through Seam", ongoing(), (shows_on(5, pin=OTHER_PIN),), 6,
          "mismatched", "mismatched"),
    Story("changed in the vendor's app", ongoing(), (set_on(1), news(30, NewsKind.MODIFIED_EXTERNALLY)), 31,
          "outdated"),
    Story("changed in the vendor's app, and it stayed so", ongoing(),
          (set_on(1), news(30, NewsKind.MODIFIED_EXTERNALLY), shows(41, status="set", pending=("updating_code",),
           errors=(error("conflicting_external_modification"),))), 42, "outdated"),
    Story("changed in the vendor's app, Seam set it again", ongoing(),
          (set_on(1), news(30, NewsKind.MODIFIED_EXTERNALLY), set_on(33)), 34, "verified"),
    Story("a new PIN was asked for, the old one is on", ongoing(asked_at=at(20), pin_changed=True), (set_on(1),), 21,
          "outdated"),
    Story("the new PIN is late, and Seam was asked", ongoing(asked_at=at(20), pin_changed=True),
          (set_on(1), shows(31, status="set", pending=("updating_code",))), 32, "outdated", "outdated"),
    Story("the new PIN is confirmed", ongoing(asked_at=at(20), pin_changed=True),
          (set_on(1), news(22, NewsKind.CODE_CHANGED, pin="k1:right")), 23, "verified"),
    Story("PIN changed and set again", ongoing(asked_at=at(20), pin_changed=True), (set_on(1), set_on(22)), 23,
          "verified"),
    Story("a read without pending mutation confirms the change", ongoing(asked_at=at(20), pin_changed=True),
          (set_on(1), shows_on(22)), 23, "verified"),
    Story("a new window was asked for and confirmed", stay(60, 300, asked_at=at(80), window_changed=True),
          (set_on(60), news(82, NewsKind.TIME_FRAME_CHANGED)), 83, "verified", asks=True),
    Story("the new window never reaches the lock", stay(60, 300, asked_at=at(80), window_changed=True),
          (set_on(60), shows(91, status="set", pending=("updating_time_frame",))), 92, "outdated", "outdated"),
    Story("the window was extended after its end", stay(60, 300, asked_at=at(130), window_changed=True),
          (set_on(60), removed(121)), 131, "pending"),
    Story("extended after its end, though Seam's object had been deleted and was not there",
          stay(60, 300, asked_at=at(130), window_changed=True),
          (set_on(60), removed(121), news(122, NewsKind.DELETED), absent(123)), 131, "pending"),
    Story("extended after its end, then the end is asked for: what was gone before does not count",
          stay(60, 300, asked_at=at(130), window_changed=True, end_asked_at=at(140)),
          (set_on(60), news(122, NewsKind.DELETED), set_on(132)), 141, "removing"),
    Story("extended after it was missed", stay(60, 300, asked_at=at(130), window_changed=True),
          (shows_unset(121),), 131, "pending"),
    Story("changed while it waits in the lock's memory", stay(600, 900, asked_at=at(60), pin_changed=True),
          (scheduled(20, OTHER_PIN),), 61, "pending"),
    Story("changed in the lock's memory, and loaded again", stay(600, 900, asked_at=at(60), pin_changed=True),
          (scheduled(20, OTHER_PIN), scheduled(62)), 63, "scheduled"),
    Story("changed in the lock's memory, and a read shows it there", stay(600, 900, asked_at=at(60), pin_changed=True),
          (scheduled(20, OTHER_PIN), shows_unset(62, is_scheduled_on_device=True)), 63, "scheduled"),
    Story("a native lock does not take the change by its preload deadline",
          stay(3 * DAY, 4 * DAY, schedules_natively=True, asked_at=at(60), window_changed=True),
          (scheduled(20), shows(2 * DAY + 1, status="unset", is_scheduled_on_device=True,
                                pending=("updating_time_frame",))), 2 * DAY + 2, "at_risk", "at_risk"),
    Story("extended after its end, and set again", stay(60, 300, asked_at=at(130), window_changed=True),
          (set_on(60), removed(121), set_on(132)), 133, "verified"),
    Story("extended after its end, and never set again", stay(60, 300, asked_at=at(130), window_changed=True),
          (set_on(60), removed(121), shows_unset(140)), 141, "stuck", "stuck"),
    Story("somebody moved the window through Seam: that is the intent now", stay(60, 120),
          (set_on(60), shows_on(90, ends_at=at(300))), 130, "verified"),
    Story("somebody changed the PIN through Seam: a read brings it in", ongoing(),
          (set_on(1), news(20, NewsKind.CODE_CHANGED, pin=OTHER_PIN), shows_on(21, pin=OTHER_PIN)), 22, "verified"),
    Story("a backup code was pulled", stay(60, 300), (failed(61), news(70, NewsKind.BACKUP_PULLED)), 71, "replaced"),
    Story("a backup code was pulled by us, and no news told of it yet", stay(60, 300, replaced_by="ac_2"),
          (failed(61),), 71, "replaced"),
    Story("a read shows that a backup code was pulled", stay(60, 300),
          (failed(61), shows_setting(70, pulled_backup_access_code_id="ac_2")), 71, "replaced"),
    Story("a new name at Seam: a read brings it in", ongoing(), (set_on(1), news(20, NewsKind.NAME_CHANGED)), 21,
          "verified", asks=True),
    Story("the backup's window ended", stay(60, 120), (set_on(60), news(70, NewsKind.BACKUP_PULLED), removed(121)), 122,
          "removed"),
]  # fmt: skip

BEGINNINGS = [
    Story("the create call is out", ongoing(**REQUESTED), (), 0.5, "requested"),
    Story("no answer, and Seam was not asked yet", ongoing(**REQUESTED), (), 2, "requested", asks=True),
    Story("no answer, and Seam does not have it", ongoing(**REQUESTED), (absent(1),), 2, "requested", "request_lost"),
    Story("no answer, and Seam cannot be read", ongoing(**REQUESTED), (unreadable(1.5),), 2, "requested", asks=True),
    Story("an end asked for before the answer is remembered", ongoing(**REQUESTED, end_asked_at=at(0.2)), (), 0.5,
          "requested"),
    Story("refused for good", ongoing(binding=Binding.REFUSED), (), 1, "refused"),
    Story("an offline code is never confirmed", stay(60, 120, is_offline=True), (), 70, "unverifiable"),
    Story("an offline code is not looked for after its end", stay(60, 120, is_offline=True), (), 500, "unverifiable"),
]  # fmt: skip

STORIES = [*ONGOING, *TIES, *STAYS, *ENDS, *TROUBLE, *BEGINNINGS]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.title)
def test_the_story_ends_with_its_verdict(story: Story) -> None:
    answer = story.assess()
    assert (answer.verdict, answer.flag, answer.needs_read) == (story.verdict, story.flag, story.asks), answer.reason


def test_no_two_stories_are_the_same() -> None:
    assert len({story.title for story in STORIES}) == len(STORIES) >= 60


@pytest.mark.parametrize("kind", sorted(set(FlagKind) - {FlagKind.WEBHOOK_SILENT}))
def test_every_flag_of_a_code_is_raised_by_some_story(kind: FlagKind) -> None:
    assert any(story.flag == kind for story in STORIES)


@pytest.mark.parametrize(
    ("kind", "severity"),
    [
        ("request_lost", Severity.CRITICAL),
        ("missed", Severity.CRITICAL),
        ("lingering", Severity.CRITICAL),
        ("lost", Severity.CRITICAL),
        ("unknown", Severity.WARNING),
        ("mismatched", Severity.CRITICAL),
        ("outdated", Severity.WARNING),
        ("failed", Severity.CRITICAL),
        ("stuck", Severity.CRITICAL),
        ("delayed", Severity.WARNING),
        ("at_risk", Severity.WARNING),
    ],
)
def test_a_flag_is_as_severe_as_the_contract_says(kind: str, severity: Severity) -> None:
    assert SEVERITIES[FlagKind(kind)] is severity


class TestDates:
    """A verdict is dated when its cause began, not when somebody looked."""

    def test_stuck_begins_at_the_deadline(self) -> None:
        story = Story("", ongoing(), (shows_setting(45),), 50, "stuck")
        answer = story.assess()
        assert (answer.since, answer.flag_since, answer.deadline) == (at(10), at(10), at(10))

    def test_missed_begins_at_the_end_of_the_window(self) -> None:
        assert Story("", stay(60, 120), (shows_unset(500),), 501, "missed").assess().flag_since == at(120)

    def test_lingering_begins_when_the_time_to_remove_has_passed(self) -> None:
        assert Story("", stay(60, 120), (set_on(60), shows_on(400)), 401, "").assess().flag_since == at(150)

    def test_lingering_says_when_the_code_was_used_after_its_end(self) -> None:
        used = (set_on(60), news(130, NewsKind.USED), shows_on(151))
        assert "used after its end" in Story("", stay(60, 120), used, 152, "").assess().reason

    def test_lost_begins_when_it_was_taken_off(self) -> None:
        happenings = (set_on(1), removed(30), shows_unset(31), shows_unset(60))
        assert Story("", ongoing(), happenings, 61, "").assess().flag_since == at(30)


class TestChecks:
    """The next check is the earliest moment at which the clock alone could change the answer."""

    @pytest.mark.parametrize(
        ("story", "minute"),
        [
            (Story("before the deadline", ongoing(), (), 1, "pending"), 10),
            (Story("before the start", stay(600, 900), (), 5, "upcoming"), 540),
            (Story("near the start", stay(600, 900), (), 550, "upcoming"), 600),
            (Story("verified in its window", stay(60, 120), (set_on(60),), 61, "verified"), 120),
            (Story("being removed", stay(60, 120), (set_on(60),), 121, "removing"), 122),
            (Story("being removed, looked at", stay(60, 120), (set_on(60), shows_on(122)), 123, "removing"), 150),
            (Story("taken off, looked at once", ongoing(), (set_on(1), removed(30), shows_unset(31)), 32, ""), 33),
            (Story("changed, not confirmed", ongoing(asked_at=at(20), pin_changed=True), (set_on(1),), 21, ""), 22),
            (
                Story(
                    "changed, looked at once",
                    ongoing(asked_at=at(20), pin_changed=True),
                    (set_on(1), shows(22, status="set", pending=("updating_code",))),
                    23,
                    "",
                ),
                30,
            ),
            (Story("before the preload", stay(3 * DAY, 4 * DAY, schedules_natively=True), (), 20, ""), 2 * DAY),
        ],
        ids=lambda value: value.title if isinstance(value, Story) else str(value),
    )
    def test_it_is_looked_at_again_when_the_clock_matters(self, story: Story, minute: float) -> None:
        assert story.assess().next_check_at == at(minute)

    def test_an_unwell_code_is_read_again_at_growing_distances(self) -> None:
        first = Story("", ongoing(), (shows_setting(10),), 11, "stuck").assess()
        later = Story("", ongoing(), (shows_setting(40),), 41, "stuck").assess()
        latest = Story("", ongoing(), (shows_setting(4000),), 4001, "stuck").assess()
        assert first.next_check_at == at(12)
        assert later.next_check_at == at(70)
        assert latest.next_check_at == at(4060)


class TestProblems:
    """A code that is not well says why, and what should be done."""

    def test_the_cause_of_a_failure_is_told(self) -> None:
        cause = error("no_space_for_access_code_on_device")
        happenings = (failed(4, error("failed_to_set_on_device"), cause),)
        problem = Story("", ongoing(), happenings, 5, "failed").assess().problem
        assert problem is not None
        assert (problem.code, problem.temporary) == ("no_space_for_access_code_on_device", False)

    @pytest.mark.parametrize("story", [story for story in STORIES if story.flag], ids=lambda story: story.title)
    def test_whatever_is_flagged_has_a_problem_with_a_remedy(self, story: Story) -> None:
        problem = story.assess().problem
        assert problem is not None
        assert problem.message
        assert problem.remedy
