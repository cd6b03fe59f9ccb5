"""What both resources are made of: the base model, names, limits, conditions."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from codexrun_core.schemas.nesting import cut

GROUP = "codexrun.dev"
VERSION = "v1alpha1"

JsonDict = dict[str, JsonValue]

# Somebody's own JSON. pydantic would refuse to serialize a whole object for 255 levels of it.
AnyJson = Annotated[dict[str, Any], PlainSerializer(cut, return_type=dict[str, Any])]

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"


def cel(rule: str, message: str) -> JsonDict:
    """Return one entry of x-kubernetes-validations (KEP-2876); the message names the field and the
    way out."""
    return {"rule": rule, "message": message}


NAME_IS_A_LABEL = cel(
    "size(self.metadata.name) <= 63",
    "metadata.name must have at most 63 characters (it becomes a label value); choose a shorter"
    " name",
)


def one_of(*values: str) -> Any:
    """Return an enumeration of the CRD's schema, for a `str` field.

    The apiserver holds writers to it. Readers take any text: a newer version may know more values.
    """
    return WithJsonSchema({"enum": list(values), "type": "string"})


class Part(BaseModel):
    """A piece of a resource: camelCase outside, unknown fields ignored (the apiserver prunes or
    refuses them)."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="ignore",
        hide_input_in_errors=True,  # errors are logged, and inputs may be secret
    )

    def dump(self) -> dict[str, Any]:
        """Return plain JSON, camelCase; what is not known is absent."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


FIRST = datetime.min.replace(tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)


def in_utc(moment: datetime) -> datetime:
    """Return the moment aware and in UTC; the first or last moment there is, where UTC has none:
    0001-01-01T00:00:00+14:00 is a date-time too."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return FIRST if moment.year == FIRST.year else LAST


Moment = Annotated[datetime, AfterValidator(in_utc)]
Name = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
PromptVersion = Annotated[str, Field(max_length=8, pattern=r"^v[1-9][0-9]{0,6}$")]
Sha256 = Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]{64}$")]
ModelName = Annotated[
    str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$")
]
Effort = Annotated[str, Field(max_length=16, pattern=r"^[a-z]+$")]

DAY = 86_400


class Condition(Part):
    """A condition of the object, in the form of metav1.Condition."""

    type: Annotated[str, Field(max_length=63)]
    status: Annotated[str, one_of("True", "False", "Unknown")]
    reason: Annotated[str, Field(max_length=128)]
    message: Annotated[str, Field(max_length=2048)] = ""
    last_transition_time: Moment
    observed_generation: int | None = None


Conditions = Annotated[
    list[Condition],
    Field(
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        description="The current conditions of the object.",
    ),
]


class ObjectMeta(Part):
    """The metadata our code reads; the CRD leaves metadata to the apiserver."""

    name: str = ""
    namespace: str | None = None
    uid: str = ""
    generation: int = 1
    resource_version: str = ""
    creation_timestamp: Moment | None = None
    deletion_timestamp: Moment | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
