"""The objects of the sandbox's org, their fields, and how core describes them."""

from dataclasses import dataclass
from functools import cached_property

LABELS = {"External_Id__c": "External Id", "Score__c": "Score", "Active__c": "Active"}


@dataclass(frozen=True)
class Field:
    """A field; what nobody may write is neither createable nor updateable."""

    name: str
    type: str = "string"
    length: int = 0
    nillable: bool = True
    writable: bool = True
    external_id: bool = False
    id_lookup: bool = False
    refers_to: str | None = None
    relationship: str | None = None

    @property
    def required(self) -> bool:
        """Whether a record cannot be made without it; a boolean is false by itself."""
        return self.writable and not self.nillable and self.type != "boolean"

    def described(self) -> dict[str, object]:
        """As a describe has it."""
        return {
            "name": self.name,
            "label": LABELS.get(self.name, self.name),
            "type": self.type,
            "length": self.length,
            "custom": self.name.endswith("__c"),
            "nillable": self.nillable,
            "defaultedOnCreate": self.type == "boolean" or not self.writable,
            "createable": self.writable,
            "updateable": self.writable,
            "filterable": True,
            "sortable": True,
            "externalId": self.external_id,
            "unique": self.external_id,
            "caseSensitive": False,
            "idLookup": self.id_lookup,
            "relationshipName": self.relationship,
            "referenceTo": [self.refers_to] if self.refers_to else [],
        }


@dataclass(frozen=True)
class SObject:
    """An object; its name and those of its fields are the same in any case."""

    name: str
    prefix: str
    fields: tuple[Field, ...]

    @cached_property
    def by_name(self) -> dict[str, Field]:
        """The fields by their name in lower case."""
        return {field.name.lower(): field for field in self.fields}

    @cached_property
    def by_relationship(self) -> dict[str, Field]:
        """The references by the name of their relationship in lower case."""
        return {field.relationship.lower(): field for field in self.fields if field.relationship}

    def field(self, name: str) -> Field | None:
        """The field of this name, or None."""
        return self.by_name.get(name.lower())

    @cached_property
    def required(self) -> list[str]:
        """The names of the fields that no record can be made without."""
        return [field.name for field in self.fields if field.required]

    @cached_property
    def linked(self) -> list[Field]:
        """The fields whose values depend on other records: references, and what is unique."""
        return [field for field in self.fields if field.refers_to or field.external_id]

    def listed(self, base: str) -> dict[str, object]:
        """As the list of objects has it."""
        url = f"{base}/sobjects/{self.name}"
        return {
            "name": self.name,
            "label": self.name,
            "labelPlural": f"{self.name}s",
            "keyPrefix": self.prefix,
            "custom": False,
            "createable": True,
            "updateable": True,
            "deletable": True,
            "queryable": True,
            "urls": {"sobject": url, "describe": f"{url}/describe", "rowTemplate": f"{url}/{{ID}}"},
        }

    def described(self, base: str) -> dict[str, object]:
        """As its describe has it."""
        return {**self.listed(base), "fields": [field.described() for field in self.fields]}


def _audit() -> tuple[Field, ...]:
    made = ("CreatedDate", "LastModifiedDate", "SystemModstamp")
    return (
        *(Field(name, "datetime", nillable=False, writable=False) for name in made),
        Field("IsDeleted", "boolean", nillable=False, writable=False),
    )


ID = Field("Id", "id", 18, nillable=False, writable=False, id_lookup=True)
EXTERNAL_ID = Field("External_Id__c", "string", 255, external_id=True, id_lookup=True)

ACCOUNT = SObject(
    "Account",
    "001",
    (
        ID,
        Field("Name", "string", 255, nillable=False),
        EXTERNAL_ID,
        Field("AnnualRevenue", "currency"),
        Field("NumberOfEmployees", "int"),
        *_audit(),
    ),
)
CONTACT = SObject(
    "Contact",
    "003",
    (
        ID,
        Field("FirstName", "string", 40),
        Field("LastName", "string", 80, nillable=False),
        Field("Email", "email", 80, id_lookup=True),
        Field("AccountId", "reference", 18, refers_to="Account", relationship="Account"),
        EXTERNAL_ID,
        Field("Score__c", "double"),
        Field("Active__c", "boolean", nillable=False),
        Field("Birthdate", "date"),
        *_audit(),
    ),
)
OBJECTS = {sobject.name.lower(): sobject for sobject in (ACCOUNT, CONTACT)}


def find_object(name: str) -> SObject | None:
    """The object of this name, or None."""
    return OBJECTS.get(name.lower())
