"""Which requests wait until a host is known."""

from notifier.push.hosts import PRIMED_FOR, Host, Hosts

LATER = PRIMED_FOR.total_seconds()


def test_a_host_gets_one_request_until_it_has_answered() -> None:
    host: Host[str] = Host()
    assert host.takes_more(100)
    host.in_flight += 1
    assert not host.takes_more(100.1)
    host.answered(100.2)
    assert host.takes_more(100.2)


def test_a_host_that_has_been_silent_is_not_known_any_more() -> None:
    host: Host[str] = Host()
    host.answered(100)
    host.in_flight += 1
    assert host.takes_more(100 + LATER - 0.1)
    assert not host.takes_more(100 + LATER)
    host.in_flight -= 1
    assert host.takes_more(100 + LATER), "or nobody would ever ask it again"


def test_all_paths_of_an_origin_are_one_host_and_a_port_is_another() -> None:
    hosts: Hosts[str] = Hosts()
    host = hosts.of("https://push.example/one")
    assert host is hosts.of("https://push.example/two/three")
    assert host is not hosts.of("https://push.example:8443/one")
    assert host is not hosts.of("https://push.example.net/one")
    assert hosts.of("http://push.example/one") is None, "nothing is multiplexed there"


def test_hosts_that_readers_name_do_not_fill_the_memory_and_none_at_work_is_forgotten() -> None:
    hosts: Hosts[str] = Hosts()
    busy = hosts.of("https://busy.example/")
    assert busy is not None
    busy.in_flight += 1
    busy.queue.append("waits")
    for number in range(5_000):
        hosts.of(f"https://{number}.example/")
    assert len(hosts._by_origin) <= 1_024
    assert hosts.of("https://busy.example/") is busy
    assert [list(queue) for queue in hosts.queues()] == [["waits"]]
