"""Which requests wait until a host takes them."""

from notifier.push.hosts import PRIMED_FOR, Host, Hosts

LATER = PRIMED_FOR.total_seconds()


def test_a_host_gets_one_request_until_it_has_answered() -> None:
    host: Host[str] = Host(8, multiplexes=True)
    assert host.takes_more(100)
    host.in_flight += 1
    assert not host.takes_more(100.1)
    host.answered(100.2, multiplexes=True)
    assert host.takes_more(100.2)


def test_a_host_that_has_been_silent_is_not_known_any_more() -> None:
    host: Host[str] = Host(8, multiplexes=True)
    host.answered(100, multiplexes=True)
    host.in_flight += 1
    assert host.takes_more(100 + LATER - 0.1)
    assert not host.takes_more(100 + LATER)
    host.in_flight -= 1
    assert host.takes_more(100 + LATER), "or nobody would ever ask it again"


def test_without_http2_a_host_gets_one_request_for_each_connection() -> None:
    plain, secure = (
        Hosts[str](2).of("http://push.example/"),
        Hosts[str](2).of("https://push.example/"),
    )
    secure.answered(100, multiplexes=False)
    for host in (plain, secure):
        for _ in range(2):
            assert host.takes_more(100)
            host.in_flight += 1
        assert not host.takes_more(100)
    secure.answered(101, multiplexes=True)
    assert secure.takes_more(101)


def test_all_paths_of_an_origin_are_one_host_and_a_port_is_another() -> None:
    hosts: Hosts[str] = Hosts(8)
    host = hosts.of("https://push.example/one")
    assert host is hosts.of("https://push.example/two/three")
    assert host is not hosts.of("https://push.example:8443/one")
    assert host is not hosts.of("https://push.example.net/one")
    assert host is not hosts.of("http://push.example/one")


def test_hosts_that_readers_name_do_not_fill_the_memory_and_none_at_work_is_forgotten() -> None:
    hosts: Hosts[str] = Hosts(8)
    busy = hosts.of("https://busy.example/")
    busy.in_flight += 1
    busy.queue.append("waits")
    for number in range(5_000):
        hosts.of(f"https://{number}.example/")
    assert len(hosts._by_origin) <= 1_024
    assert hosts.of("https://busy.example/") is busy
    assert [list(queue) for queue in hosts.queues()] == [["waits"]]
