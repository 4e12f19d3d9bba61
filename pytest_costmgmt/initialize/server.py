"""Initialize a server: roles, databases, access, extensions, hive; all but the migrations."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from pytest_costmgmt.errors import StepFailed, UsageProblem
from pytest_costmgmt.initialize import databases, extensions, roles
from pytest_costmgmt.initialize.actors import Actors, Owner
from pytest_costmgmt.initialize.perform import perform, rehearse
from pytest_costmgmt.initialize.step import Initialized, Step, Work
from pytest_costmgmt.postgres.attempt import Attempt, attempt
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.statements import Statement, StatementFailed, locked, run
from pytest_costmgmt.requirements.model import Requirements
from pytest_costmgmt.secret import Secret

Told = Callable[[Step], None]

WRONG_PASSWORD = "28P01"  # noqa: S105 - a SQLSTATE


def unheard(step: Step) -> None:
    """Tell nobody."""


def initialize(
    administrator: Login | None,
    *,
    requirements: Requirements,
    application: Login | None = None,
    application_password: Secret | None = None,
    hive_password: Secret | None = None,
    ours: bool = False,
    deadline: float = 10.0,
    dry_run: bool = False,
    told: Told = unheard,
    proven_at: Mapping[str, str] | None = None,
) -> Initialized:
    """Make the server what ``requirements`` asks for, and return each step that was taken.

    Without an ``administrator`` the ``application``'s login does what it may; the rest is refused
    with what an administrator must run. A role that is created gets the given password, else a
    generated one. An existing role's password is replaced only if its login is refused and the
    server is ``ours``. ``deadline`` is each connection's, in seconds; ``told`` hears each step.
    ``dry_run`` reads: it changes nothing, takes no lock, and its steps are *planned*.
    ``proven_at`` is another way to the same server, which the logins must open: where the
    administrator comes in without a password, any other would seem to do.

    Raises ConnectFailed if the server cannot be reached, StepFailed if a step breaks, UsageProblem.
    """
    if application is not None:
        requirements = requirements.named(role=application.role, database=application.database)
        application_password = application_password or application.password
    _acceptable(requirements, application_password, hive_password)
    with Actors(administrator, application, deadline=deadline) as actors:
        return _Initialization(
            requirements, actors, ours=ours, dry_run=dry_run, told=told, proven_at=proven_at
        ).everything(application_password, hive_password, offer=application is not None)


def plan(
    administrator: Login | None,
    *,
    requirements: Requirements,
    application: Login | None = None,
    application_password: Secret | None = None,
    hive_password: Secret | None = None,
    deadline: float = 10.0,
) -> tuple[Step, ...]:
    """Return the steps of :func:`initialize` as they would be taken, with their SQL."""
    return initialize(
        administrator,
        requirements=requirements,
        application=application,
        application_password=application_password,
        hive_password=hive_password,
        deadline=deadline,
        dry_run=True,
    ).steps


def _acceptable(
    requirements: Requirements, application: Secret | None, hive: Secret | None
) -> None:
    for role, password in ((requirements.role.name, application), (requirements.hive.role, hive)):
        if password is not None and not password:
            raise UsageProblem(f"The password of role {role} is empty: give one, or none at all.")
    if hive is not None and hive in map(Secret, requirements.hive.forbidden_passwords):
        raise UsageProblem(
            f"The password of role {requirements.hive.role} is one that everybody knows: give"
            " another, or none and one is generated."
        )


class _Initialization:
    """One run over all steps; ``steps`` grows."""

    def __init__(
        self,
        requirements: Requirements,
        actors: Actors,
        *,
        ours: bool,
        dry_run: bool,
        told: Told,
        proven_at: Mapping[str, str] | None,
    ) -> None:
        self.needs, self.actors = requirements, actors
        self.ours, self.dry_run, self.told = ours, dry_run, told
        self.proven_at = proven_at
        self.steps: list[Step] = []

    def everything(
        self, application: Secret | None, hive: Secret | None, *, offer: bool
    ) -> Initialized:
        """Take all steps. ``offer``: libpq may know the application's password if we do not."""
        needs = self.needs
        login = self.owner(
            "application", needs.role.name, needs.database.name, application, offer=offer
        )
        for schema in dict.fromkeys(
            [needs.migrations.tenant_schema, *(e.schema for e in needs.extensions)]
        ):
            self.take(databases.schema(schema, database=login.database, owner=login.role))
        for extension in needs.extensions:
            self.take(extensions.extension(extension, database=login.database))
        hive_login = self.hive(hive)
        return Initialized(steps=tuple(self.steps), application=login, hive=hive_login)

    def hive(self, password: Secret | None) -> Login | None:
        """Make hive exist where it is required, and tell of it where it is forbidden."""
        needs = self.needs.hive
        if needs.policy == "required":
            return self.owner("hive", needs.role, needs.database, password, offer=False)
        self.take(roles.hive_absent(needs, maintenance=self.actors.maintenance))
        return None

    def owner(
        self, who: Owner, role: str, database: str, password: Secret | None, *, offer: bool
    ) -> Login:
        """Make a role, its database and its way into it; return the login that results."""
        maintenance, spare = self.actors.maintenance, password or Secret.generate()
        made = self.take(roles.role(role, maintenance=maintenance, password=spare))
        if made.action == "created":
            password = spare
        login = self.actors.login(role, database, password)
        if self.proven_at is not None:
            login = msgspec.structs.replace(login, where=dict(self.proven_at))
        wanted = databases.Wanted(database, role, self.needs.server.encoding)
        self.take(databases.database(wanted, maintenance=maintenance))
        offered = not self.dry_run and (offer or password is not None)
        first = self.offer(who, login) if offered else None
        access = self.take(databases.access(database, owner=role, by=who))
        if first is not None:
            self.login(who, login, self.offer(who, login) if access.action == "changed" else first)
        return login

    def take(self, work: Work) -> Step:
        """Take one step, or rehearse it."""
        if self.dry_run:
            return self.say(rehearse(work, self.actors))
        refused = [step.name for step in self.steps if step.action == "refused"]
        return self.say(perform(work, self.actors, refused=refused))

    def say(self, step: Step) -> Step:
        """Record a step and tell it."""
        self.steps.append(step)
        self.told(step)
        return step

    def offer(self, who: Owner, login: Login) -> Attempt:
        """Try the login once; one that works serves the steps that its role may take."""
        tried = attempt(login, offered="own", deadline=self.actors.deadline)
        if tried.outcome == "accepted":
            self.actors.owners[who] = login
        return tried

    def login(self, who: Owner, login: Login, tried: Attempt) -> None:
        """Say whether the login works; on a server of ours, make it."""
        step = Step(name=f"login {login.role}", action="present", database=login.database)
        if tried.outcome == "accepted":
            self.say(step)
            return
        administrator, wrong = self.actors.administrator, tried.sqlstate == WRONG_PASSWORD
        if wrong and self.ours and administrator is not None and login.password is not None:
            sql = self.replace_password(administrator, login)
            tried = self.offer(who, login)
            if tried.outcome == "accepted":
                self.say(msgspec.structs.replace(step, action="changed", sql=sql))
                return
        psql = (f"\\password {Statement('{}', (login.role,)).shown}",) if wrong else ()
        self.say(msgspec.structs.replace(step, action="refused", sql=psql, remark=tried.message))

    def replace_password(self, administrator: Login, login: Login) -> tuple[str, ...]:
        """Give the role the login's password."""
        statement = Statement(
            "ALTER ROLE {} PASSWORD {password}", (login.role,), password=login.password
        )
        connection = self.actors.connection(administrator.on(self.actors.maintenance))
        try:
            with locked(connection):
                run(connection, [statement])
        except StatementFailed as error:
            raise StepFailed(f"login {login.role}", error.message) from None
        return (statement.shown,)
