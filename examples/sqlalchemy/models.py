"""One table."""

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The models' base."""


class Tag(Base):
    """A tag and how often it was seen."""

    __tablename__ = "tag"

    key: Mapped[str] = mapped_column(primary_key=True)
    seen: Mapped[int]
