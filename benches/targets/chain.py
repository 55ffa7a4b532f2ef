"""chain.py COUNTER [LIBRARY COUNT]: requests to a made-up shop, each 30 frames deep and mostly at its leaf.

With LIBRARY (native_threads.c of fixtures/, compiled) COUNT threads that Python knows nothing of wait
beside it.
"""
import ctypes
import sys

import beats


def main_loop(served):
    connection = {"peer": "10.0.0.7", "requests": 0}
    while True:
        connection["requests"] += 1
        serve(connection)
        served[0] += 1


def serve(connection):
    return handle_connection(connection, keep_alive=True)


def handle_connection(connection, keep_alive):
    response = read_request(connection)
    return response if keep_alive else None


def read_request(connection):
    request = {"path": "/orders/7", "user": "ada", "peer": connection["peer"]}
    return dispatch(request)


def dispatch(request):
    return authenticate(request, next_step=with_session)


def authenticate(request, next_step):
    if not request["user"]:
        return None
    return next_step(request)


def with_session(request):
    session = {"user": request["user"]}
    return route(request, session)


def route(request, session):
    kind, _, number = request["path"].strip("/").partition("/")
    return call_view(kind, int(number), session)


def call_view(kind, *arguments):
    return VIEWS[kind](*arguments)


def order_view(number, session):
    order = load_order(number)
    return {"order": order, "user": session["user"]}


def load_order(number):
    return query("select * from orders where number = ?", number)


def query(statement, *values):
    return execute(statement, values)


def execute(statement, values):
    return with_transaction(run_statement, statement, values)


def with_transaction(body, *arguments):
    try:
        return body(*arguments)
    finally:
        pass


def run_statement(statement, values):
    return fetch_rows(statement, values)


def fetch_rows(statement, values):
    rows = [(values[0], "book"), (values[0], "pen")]
    return build_order(rows)


def build_order(rows):
    order = {"items": [], "total": 0}
    return add_items(order, rows)


def add_items(order, rows):
    order["items"].append(make_item(rows[0]))
    return order


def make_item(row):
    return {"name": row[1], "price": price_of(row[1])}


def price_of(name):
    return apply_discounts(name, 1000)


def apply_discounts(name, price):
    return apply_rule({"when": name, "factor": 2}, price)


def apply_rule(rule, price):
    return price // rule["factor"] if evaluate(rule["when"]) else price


def evaluate(condition):
    return evaluate_condition(condition, negated=False)


def evaluate_condition(condition, negated):
    return bool(lookup(condition)) != negated


def lookup(name):
    return resolve(name.upper())


def resolve(name):
    return convert(name, 16)


def convert(name, base):
    return normalise(name) % base


def normalise(name):
    return checksum(name, 600)


def checksum(name, rounds):
    total = len(name)
    for number in range(rounds):
        total = (total * 31 + number) & 0xFFFF
    return total


VIEWS = {"orders": order_view}

if len(sys.argv) > 2:
    library, count = sys.argv[2], int(sys.argv[3])
    started = ctypes.CDLL(library).start_threads(count)
    assert started == count, "only %d threads could be started" % started
beats.ready()
main_loop(beats.counter())
