"""The newsroom: where editors sign in, raise alerts and watch them go out."""

from flask import Blueprint

blueprint = Blueprint("newsroom", __name__, url_prefix="/newsroom")
