"""Everything a person can do, as functions over the replica with plain values in and out.

The command line, the private socket and the Python interface all come through here. Functions that change something
run within a batch and check everything before they write.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from ..codec.cid import Cid
from ..codec.pb import wesh_pb2 as pb
from ..errors import AmbiguousName, RemoteProtocolError, UserError
from ..ids import AccountId, DeviceId, GroupId
from ..protocol.contact import Action, event_for
from ..protocol.group import GroupKind, LogKind
from ..protocol.links import (
    ContactLink,
    EncryptedLink,
    GroupLink,
    Link,
    format_internal,
    format_web,
    parse_link,
    seal_link,
    unseal_link,
)
from ..protocol.metadata import ContactState, EventType
from ..protocol.payloads import (
    Content,
    GroupInvitation,
    SetGroupInfo,
    UserMessage,
    contact_name,
    encode_contact_metadata,
)
from ..protocol.shareable import ShareableContact, encode_contact
from .replica.group_replica import GroupReplica, OpenedMessage
from .replica.replica import Replica

SHORTEST_ID = 6
SHORTEST_CID = 12  # all begin alike
MAX_ALIAS = 64
_KINDS = {GroupKind.ACCOUNT: "account", GroupKind.CONTACT: "contact", GroupKind.MULTI_MEMBER: "group"}
Json = dict[str, Any]


class Actions:
    """What can be done with an account. `reads` and `writes` name what the private socket may call."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    # -- account -------------------------------------------------------------------------------

    def account_show(self) -> Json:
        """Name, id and device of this account."""
        replica = self._replica
        return {
            "name": replica.own_name(),
            "id": str(replica.account_id),
            "device": str(replica.account.device_id),
            "devices": [str(device) for device in replica.account.devices()],
            "profile": replica.profile.name,
        }

    def account_rename(self, name: str) -> Json:
        """Change the display name everywhere."""
        self._replica.rename(checked_name(name, "display name"))
        return self.account_show()

    # -- own link ------------------------------------------------------------------------------

    def contact_link(self, internal: bool = False, passphrase: str = "") -> Json:
        """The link that makes a contact of whoever has it; requests are switched on, the seed is kept."""
        account = self._replica.account
        if account.registers.get("requests") != b"\1":
            self.requests_on()
        seed = account.registers.get("seed") or self._reset_seed()
        link: Link = ContactLink(self._replica.account_id, seed, self._replica.own_name())
        return {"link": self._format(link, internal, passphrase)}

    def reset_link(self) -> Json:
        """Make old links useless."""
        self._reset_seed()
        return self.contact_link()

    def _reset_seed(self) -> bytes:
        seed = self._replica.entropy(32)
        self._write(EventType.REFERENCE_RESET, pb.AccountContactRequestReferenceReset, public_rendezvous_seed=seed)
        return seed

    def requests_on(self) -> Json:
        """Let holders of the link ask again; the link stays as it was."""
        self._write(EventType.REQUESTS_ENABLED, pb.AccountContactRequestEnabled)
        return {"requests": True}

    def requests_off(self) -> Json:
        """Let nobody ask."""
        self._write(EventType.REQUESTS_DISABLED, pb.AccountContactRequestDisabled)
        return {"requests": False}

    def _format(self, link: Link, internal: bool, passphrase: str) -> str:
        if passphrase and isinstance(link, ContactLink | GroupLink):
            link = seal_link(link, passphrase, self._replica.entropy(16))
        return format_internal(link) if internal else format_web(link)

    # -- contacts ------------------------------------------------------------------------------

    def contact_add(self, link: str, passphrase: str = "", alias: str = "") -> Json:
        """Ask the owner of a link to become a contact."""
        parsed = _unsealed(parse_link(link.strip()), passphrase)
        if isinstance(parsed, GroupLink):
            raise UserError("this is a link to a group: use `berty group join`")
        if not isinstance(parsed, ContactLink):
            raise UserError("this link names no person: ask for one that `berty contact link` prints")
        if parsed.account == self._replica.account_id:
            raise UserError("this is your own link: give it to somebody else")
        event = event_for(Action.SEND, self._state(parsed.account), self.alias(parsed.account))
        own = encode_contact_metadata(self._replica.own_name())
        encode_contact(ShareableContact(self._replica.account_id, bytes(32), own))  # refuses what would not arrive
        self._name(parsed.account, alias, parsed.display_name)
        if event is EventType.OUTGOING_ENQUEUED:
            metadata = encode_contact_metadata(parsed.display_name)
            contact = pb.ShareableContact(
                pk=bytes(parsed.account), public_rendezvous_seed=parsed.rendezvous_seed, metadata=metadata
            )
            self._write(event, pb.AccountContactRequestOutgoingEnqueued, contact=contact, own_metadata=own)
        else:
            self._write(event, pb.AccountContactRequestOutgoingSent, contact_pk=bytes(parsed.account))
            self._enliven(parsed.account)
        return self._contact_view(parsed.account)

    def contact_list(self) -> list[Json]:
        """All contacts and requests."""
        return sorted(map(self._contact_view, self._replica.contacts()), key=_by_name)

    def contact_accept(self, name: str) -> Json:
        """Accept a request."""
        return self._change(name, Action.ACCEPT, pb.AccountContactRequestIncomingAccepted)

    def contact_discard(self, name: str) -> Json:
        """Discard a request; the other side is not told."""
        return self._change(name, Action.DISCARD, pb.AccountContactRequestIncomingDiscarded)

    def contact_block(self, name: str) -> Json:
        """Exchange nothing with a contact any longer."""
        return self._change(name, Action.BLOCK, pb.AccountContactBlocked)

    def contact_unblock(self, name: str) -> Json:
        """Let a blocked contact ask again."""
        return self._change(name, Action.UNBLOCK, pb.AccountContactUnblocked)

    def contact_rename(self, name: str, alias: str) -> Json:
        """Choose another local name for a contact."""
        account = self.find_contact(name)
        self._set_alias(account, checked_name(alias, "name"), strict=True)
        return self._contact_view(account)

    def contact_verify(self, name: str) -> Json:
        """A fingerprint that is the same on both sides: 30 digits to read aloud."""
        account = self.find_contact(name)
        both = b"".join(sorted([bytes(account), bytes(self._replica.account_id)]))
        number = int.from_bytes(hashlib.sha256(b"berty contact fingerprint" + both).digest(), "big") % 10**30
        digits = f"{number:030d}"
        return {**self._contact_view(account), "fingerprint": " ".join(digits[i : i + 5] for i in range(0, 30, 5))}

    def own_contact(self, contact: AccountId) -> ShareableContact:
        """What a request tells about us: our id, seed (if we take requests) and name."""
        registers = self._replica.account.registers
        metadata = registers.get("own metadata", contact) or encode_contact_metadata(self._replica.own_name())
        return ShareableContact(self._replica.account_id, registers.get("seed") or b"", metadata)

    def request_sent(self, account: AccountId) -> None:
        """A request reached its owner: we count as contacts (Wesh protocol, section 5.6)."""
        if self._state(account) is ContactState.ADDED:
            return
        event = event_for(Action.SENT, self._state(account))
        self._write(event, pb.AccountContactRequestOutgoingSent, contact_pk=bytes(account))
        self._enliven(account)

    def request_received(self, contact: ShareableContact) -> None:
        """Somebody who holds our link asked; what a known contact asks again changes nothing (section 14.2)."""
        state = self._state(contact.account)
        if contact.account == self._replica.account_id or state in (ContactState.ADDED, ContactState.RECEIVED):
            return
        event = event_for(Action.RECEIVE, state)
        if event is EventType.OUTGOING_SENT:
            self._write(event, pb.AccountContactRequestOutgoingSent, contact_pk=bytes(contact.account))
            self._enliven(contact.account)
            return
        name = contact_name(contact.metadata) or contact.account.hex()[:8]
        self._set_alias(contact.account, name)
        self._write(
            event,
            pb.AccountContactRequestIncomingReceived,
            contact_pk=bytes(contact.account),
            contact_rendezvous_seed=contact.rendezvous_seed,
            contact_metadata=contact.metadata,
        )

    def _change(self, name: str, action: Action, payload: type[Any]) -> Json:
        account = self.find_contact(name)
        event = event_for(action, self._state(account), self.alias(account))
        self._write(event, payload, contact_pk=bytes(account))
        if action is Action.ACCEPT:
            self._enliven(account)
        return self._contact_view(account)

    def _enliven(self, account: AccountId) -> None:
        """The contact begins with us: whatever arrives is news."""
        self._replica.adjust_groups()
        group = self._replica.contact_group(account)
        if group is not None:
            group.become_live()

    def _state(self, account: AccountId) -> ContactState:
        return self._replica.contacts().get(account, ContactState.UNDEFINED)

    def _contact_view(self, account: AccountId) -> Json:
        group = self._replica.contact_group(account)
        metadata = self._replica.account.registers.get("contact metadata", account) or b""
        theirs = next((group.name_of(d) for d in group.devices() if not group.is_mine(d)), "") if group else ""
        return {
            "name": self.alias(account),
            "remote_name": theirs or contact_name(metadata),
            "id": str(account),
            "state": self._state(account).name.lower(),
            "group": str(group.group.id) if group else None,
            "unread": group.unread() if group else 0,
        }

    # -- groups --------------------------------------------------------------------------------

    def group_new(self, name: str) -> Json:
        """Make a group."""
        name = checked_name(name, "group name")
        self._check_free(name)
        group = self._replica.create_group(name)
        self._set_alias(group.group.id, name)
        return self._group_view(group)

    def group_invite(self, group: str, contact: str = "", internal: bool = False, passphrase: str = "") -> Json:
        """The link to a group; given a contact, sent to it."""
        found = self._multi_member(group)
        link = GroupLink(found.group, found.group_name() or self.alias(found.group.id))
        if not contact:
            return {"link": self._format(link, internal, passphrase)}
        cid = self.send(contact, GroupInvitation(format_web(link)))
        return {"sent": str(cid), "to": self.alias(self.find_contact(contact))}

    def group_invitations(self) -> list[Json]:
        """Invitations from contacts to groups that we are not in."""
        found = []
        for cid, sender, text in self._invitations():
            try:
                link = parse_link(text)
            except RemoteProtocolError:
                continue
            if isinstance(link, GroupLink) and link.group.id not in self._replica.groups:
                found.append({"id": cid, "name": link.display_name, "from": sender, "link": text})
        return found

    def _invitations(self) -> Iterator[tuple[str, str, str]]:
        """(id, sender, link) of all that came, also of those that cannot be used."""
        for replica in self._replica.groups.values():
            sender = self.alias(replica.contact) if replica.contact else ""
            for (cid,), value in replica.registers.items("invitation"):
                yield str(Cid(cid)), sender, value.decode(errors="replace")

    def group_join(self, link: str, passphrase: str = "", alias: str = "") -> Json:
        """Join the group of a link, or of an invitation by its id or name."""
        parsed = _unsealed(parse_link(self._invitation_link(link.strip())), passphrase)
        if isinstance(parsed, ContactLink):
            raise UserError("this is a link to a person: use `berty contact add`")
        if not isinstance(parsed, GroupLink):
            raise UserError("this link names no group: ask for one that `berty group invite` prints")
        if known := self._replica.groups.get(parsed.group.id):
            raise UserError(f"you are in this group already: it is {self.conversation_name(known)!r} here")
        group = self._replica.join_group(parsed.group)
        self._name(parsed.group.id, alias, parsed.display_name)
        return self._group_view(group)

    def _invitation_link(self, text: str) -> str:
        if "://" in text:
            return text
        named = [(found["id"], found["link"]) for found in self.group_invitations() if found["name"] == text]
        by_id = [(cid, link) for cid, _, link in self._invitations() if cid.startswith(text)]
        matches = named or (by_id if len(text) >= SHORTEST_CID else [])
        if len({link for _, link in matches}) > 1:
            raise AmbiguousName(
                f"{text!r} names several invitations: {', '.join(cid for cid, _ in matches)}; use an id"
            )
        if matches:
            return matches[0][1]
        if any(group["name"] == text for group in self.group_list()):
            raise UserError(f"you are in {text!r} already")
        raise UserError(f"{text!r} is no link, and no invitation of this name has come: see `berty group invitations`")

    def group_list(self) -> list[Json]:
        """All groups, those with contacts among them."""
        groups = [group for group in self._replica.groups.values() if group.group.kind is not GroupKind.ACCOUNT]
        return sorted(map(self._group_view, groups), key=_by_name)

    def group_show(self, name: str) -> Json:
        """A group with its members."""
        group = self.find_group(name)
        members = [
            {
                "id": str(member),
                "name": self.sender_name(group, devices[0]),
                "me": member == group.member_id,
                "devices": [str(device) for device in devices],
            }
            for member, devices in group.members().items()
        ]
        return {**self._group_view(group), "member_list": members}

    def group_leave(self, name: str) -> Json:
        """Leave a group; what is in it stays on the disk, sealed."""
        group = self._multi_member(name)
        view = self._group_view(group)
        self._replica.leave_group(group.group.id)
        return view

    def group_rename(self, name: str, new_name: str) -> Json:
        """Give a group another name, for everybody."""
        group = self._multi_member(name)
        new_name = checked_name(new_name, "group name")
        group.write_payload(SetGroupInfo(new_name))
        self._set_alias(group.group.id, new_name)
        return self._group_view(group)

    def _group_view(self, group: GroupReplica) -> Json:
        messages, metadata = group.logs[LogKind.MESSAGES], group.logs[LogKind.METADATA]
        waiting = group.chains.waiting()
        return {
            "name": self.conversation_name(group),
            "remote_name": group.group_name(),
            "id": str(group.group.id),
            "kind": _KINDS[group.group.kind],
            "members": len(group.members()),
            "entries": len(messages) + len(metadata),
            "heads": len(messages.heads) + len(metadata.heads),
            "unread": group.unread(),
            "unsent": len(group.deliveries.unheld()),
            "waiting": {str(device): list(counters)[:20] for device, counters in waiting.items()},
            "missing": {str(device): list(counters)[:20] for device, counters in group.chains.gaps().items()},
        }

    # -- messages ------------------------------------------------------------------------------

    def send(self, to: GroupId | str, content: Content) -> Cid:
        """Send a content to a group or contact."""
        group = self._replica.groups.get(to) if isinstance(to, GroupId) else self.find_group(to)
        if group is None:
            raise UserError("this group is not open on this device")
        return group.send(content)

    def send_text(self, to: str, text: str) -> Json:
        """Send a text to a group or contact."""
        if not text:
            raise UserError("there is nothing to send: the text is empty")
        group = self.find_group(to)
        return {"id": str(group.send(UserMessage(text))), "group": str(group.group.id)}

    def answer(self, to: GroupId, text: str, cursor: str, number: int) -> Cid | None:
        """Send a text and move a cursor in one commit; None if the cursor was there already."""
        if cursor and not self._replica.move_cursor(cursor, number):
            return None
        return self.send(to, UserMessage(text))

    def read(self, to: str, last: int = 0, mark: bool = True) -> list[Json]:
        """The last messages of a group in the log's order, alike on all replicas."""
        group = self.find_group(to)
        found: list[Json] = []
        for cid in group.logs[LogKind.MESSAGES].cids(reverse=True):
            if last and len(found) >= last:
                break
            view = self.message_view(group, cid)
            if view is not None:
                found.append(view)
        if mark and group.unread():
            group.mark_read()
        return found[::-1]

    def message_ids(self, to: str, last: int = 0) -> list[str]:
        """The ids of the last entries (0: all) in a group's message log, in the log's order."""
        log = self.find_group(to).logs[LogKind.MESSAGES]
        newest = itertools.islice(log.cids(reverse=True), last or None)
        return [str(cid) for cid in newest][::-1]

    def messages_at(self, to: str, ids: list[str]) -> list[Json]:
        """The texts and invitations among some entries of a group."""
        group = self.find_group(to)
        return [view for cid in ids if (view := self.message_view(group, Cid.parse(cid))) is not None]

    def arrivals(self, to: str, after: int, limit: int = 100) -> list[Json]:
        """Messages of a group (or of all, with an empty name) in order of arrival behind a number."""
        wanted = self.find_group(to).group.id if to else None
        found: list[Json] = []
        for arrival in self._replica.arrivals.after(after, limit):
            group = self._replica.groups.get(arrival.group)
            view = self.message_view(group, arrival.cid, arrival.kind) if group else None
            skip = view is None or (wanted is not None and arrival.group != wanted)
            found.append(
                {"number": arrival.number}
                if skip or view is None
                else {
                    **view,
                    "number": arrival.number,
                    "late": arrival.late,
                }
            )
        return found

    def last_arrival(self) -> int:
        """The number of the newest arrival."""
        return self._replica.arrivals.last

    def mark_read(self, to: str) -> None:
        """Everything in a group counts as read."""
        group = self.find_group(to)
        if group.unread():
            group.mark_read()

    def message_state(self, to: str, cid: str) -> Json:
        """Where an own message is, as far as it is proven."""
        group = self.find_group(to)
        delivery = group.deliveries.get(Cid.parse(cid))
        return {
            "state": delivery.state,
            "sent": list(delivery.sent),
            "held": [self._device_view(group, device) for device in delivery.held],
            "acknowledged": [self._device_view(group, device) for device in delivery.acknowledged],
        }

    def _device_view(self, group: GroupReplica, device: DeviceId) -> Json:
        return {"device": str(device), "name": self.sender_name(group, device)}

    def message_view(self, group: GroupReplica, cid: Cid, kind: LogKind = LogKind.MESSAGES) -> Json | None:
        """A message as data; None for what is no text and no invitation. Times are Unix seconds."""
        opened = group.message(cid, kind)
        content = opened.payload.content if opened else None
        if opened is None or not isinstance(content, UserMessage | GroupInvitation):
            return None
        mine = group.is_mine(opened.device)
        return {
            "id": str(cid),
            "cid": str(cid),
            "group": str(group.group.id),
            "group_name": self.conversation_name(group),
            "device": str(opened.device),
            "sender": self.sender_name(group, opened.device),
            "mine": mine,
            "kind": "text" if isinstance(content, UserMessage) else "invitation",
            "text": content.body if isinstance(content, UserMessage) else content.link,
            "invited_to": None if isinstance(content, UserMessage) else _name_in(content.link),
            "time": group.logs[kind].time_of(cid),
            **_times(opened),
            "state": group.deliveries.get(cid).state if opened.device == group.device_id else None,
        }

    def sender_name(self, group: GroupReplica, device: DeviceId) -> str:
        """The local alias of a contact, or the name that a member gave itself, or the start of its device's id."""
        if group.is_mine(device):
            return self._replica.own_name() or "me"
        if group.contact is not None:
            return self.alias(group.contact)
        return group.name_of(device) or device.hex()[:8]

    # -- names ---------------------------------------------------------------------------------

    def alias(self, identifier: AccountId | GroupId) -> str:
        """The local name of a contact or group, fixed when it was added; names that come later are only shown."""
        stored = self._replica.setting(f"alias {identifier.hex()}")
        if stored is not None:
            return bytes(stored).decode()
        metadata = self._replica.account.registers.get("contact metadata", identifier)
        return (contact_name(metadata) if metadata else "") or identifier.hex()[:8]

    def conversation_name(self, group: GroupReplica) -> str:
        """What a conversation is called here: the alias of its contact, or of the group."""
        if group.contact is not None:
            return self.alias(group.contact)
        stored = self._replica.setting(f"alias {group.group.id.hex()}")
        return bytes(stored).decode() if stored else group.group_name() or group.group.id.hex()[:8]

    def _name(self, identifier: AccountId | GroupId, chosen: str, remote: str) -> None:
        """Fix the local name: the chosen one, which must be free, or else the remote one, numbered if it is taken."""
        if chosen:
            self._set_alias(identifier, checked_name(chosen, "name"), strict=True)
        else:
            self._set_alias(identifier, remote)

    def _set_alias(self, identifier: AccountId | GroupId, wanted: str, *, strict: bool = False) -> None:
        """Give a local name that nothing else has; a wanted one that is taken gets a number behind it."""
        wanted = " ".join(wanted.split())[:MAX_ALIAS] or identifier.hex()[:8]
        taken = {name.casefold() for other, name in self._names() if other != identifier}
        if strict and wanted.casefold() in taken:
            raise UserError(f"the name {wanted!r} is taken; choose another")
        name, number = wanted, 2
        while name.casefold() in taken:
            name, number = f"{wanted} {number}", number + 1
        self._replica.put_setting(f"alias {identifier.hex()}", name.encode())

    def _check_free(self, name: str) -> None:
        if name.casefold() in {other.casefold() for _, other in self._names()}:
            raise UserError(f"the name {name!r} is taken; choose another")

    def _names(self) -> list[tuple[AccountId | GroupId, str]]:
        contacts: list[tuple[AccountId | GroupId, str]] = [
            (account, self.alias(account)) for account in self._replica.contacts()
        ]
        groups = [
            (group.group.id, self.conversation_name(group))
            for group in self._replica.groups.values()
            if group.group.kind is GroupKind.MULTI_MEMBER
        ]
        return contacts + groups

    def find_contact(self, name: str) -> AccountId:
        """The contact that a person names by alias or by the beginning of its id."""
        matches = [key for key, _ in self._matching(name, lambda key: isinstance(key, AccountId))]
        return AccountId(self._only(name, matches, "contact", "`berty contact list` shows them"))

    def find_group(self, name: str) -> GroupReplica:
        """The group, or the group with the contact, that a person names."""
        matches = [key for key, _ in self._matching(name, lambda _: True)]
        found = self._only(name, matches, "contact or group", "`berty group list` and `berty contact list` show them")
        if isinstance(found, GroupId):
            return self._replica.groups[found]
        group = self._replica.contact_group(AccountId(found))
        if group is None:
            state = self._state(AccountId(found))
            hint = {
                ContactState.TO_REQUEST: "your request has not reached them yet: run `berty run` while they are near",
                ContactState.RECEIVED: f"accept their request first: `berty contact accept {name}`",
                ContactState.BLOCKED: f"they are blocked: `berty contact unblock {name}`",
            }.get(state, "they are no contact any longer: `berty contact add LINK` asks again")
            raise UserError(f"nothing can be exchanged with {self.alias(AccountId(found))}: {hint}")
        return group

    def _multi_member(self, name: str) -> GroupReplica:
        group = self.find_group(name)
        if group.group.kind is not GroupKind.MULTI_MEMBER:
            raise UserError(f"{name!r} is a contact, not a group")
        return group

    def _matching(self, name: str, fits: Callable[[object], bool]) -> list[tuple[AccountId | GroupId, str]]:
        names = [(key, alias) for key, alias in self._names() if fits(key)]
        exact = [pair for pair in names if pair[1] == name]
        if exact:
            return exact
        folded = [pair for pair in names if pair[1].casefold() == name.casefold()]
        if folded:
            return folded
        if len(name) < SHORTEST_ID:
            return []
        by_group = {g.contact: g for g in self._replica.groups.values() if g.contact}
        return [
            pair
            for pair in names
            if pair[0].hex().startswith(name.lower())
            or (pair[0] in by_group and by_group[AccountId(pair[0])].group.id.hex().startswith(name.lower()))
        ]

    def _only(self, name: str, matches: list[AccountId | GroupId], what: str, where: str) -> AccountId | GroupId:
        if not matches:
            raise UserError(f"there is no {what} {name!r}; {where}")
        if len(matches) > 1:
            raise AmbiguousName(f"{name!r} names several: {', '.join(str(match) for match in matches)}; use an id")
        return matches[0]

    def _write(self, event: EventType, payload: type[Any], **fields: Any) -> None:
        account = self._replica.account
        account.write_event(event, payload(device_pk=bytes(account.device_id), **fields))


def _unsealed(link: Link, passphrase: str) -> Link:
    if not isinstance(link, EncryptedLink):
        return link
    if not passphrase:
        raise UserError("this link is protected: give its passphrase with --passphrase")
    return unseal_link(link, passphrase)


def checked_name(name: str, what: str) -> str:
    """A name that a person chose, on one line; UserError if it cannot be one."""
    name = " ".join(name.split())
    if not name:
        raise UserError(f"the {what} is empty")
    if len(name) > MAX_ALIAS:
        raise UserError(f"the {what} is too long: it has {len(name)} characters, at most {MAX_ALIAS} are taken")
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise UserError(f"the {what} is no UTF-8 text")
    return name


def _by_name(view: Json) -> tuple[str, str]:
    return view["name"].casefold(), view["id"]


def _name_in(link: str) -> str:
    """What the group of an invitation is called."""
    try:
        parsed = parse_link(link)
    except RemoteProtocolError:
        return ""
    return parsed.display_name if isinstance(parsed, GroupLink) else ""


def _times(opened: OpenedMessage) -> Json:
    """When it was sent by the sender's clock, clamped to when it came, and whether that claim can be believed."""
    sent, received = opened.payload.sent_date / 1000, opened.received / 1000
    implausible = received > 0 and not 0 < sent <= received + 300
    return {"sent": min(sent, received) if received else sent, "received": received, "sent_implausible": implausible}
