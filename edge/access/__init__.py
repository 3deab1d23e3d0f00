"""Who may do what on this gateway: claim, people and roles, tokens, throttling, audit, the local CA."""

from edge.access.audit import Audit, verify
from edge.access.authority import LocalAuthority
from edge.access.errors import AccessDenied
from edge.access.gate import Access, Person
from edge.access.roles import Role

__all__ = ["Access", "AccessDenied", "Audit", "LocalAuthority", "Person", "Role", "verify"]
