#!/usr/bin/env escript
%% What `benches/crashes.rs` does, by an Erlang supervisor: so many children, so many crashes a
%% second for so long, and how long it takes from a crash until the next child of that number is up.
%%
%% escript crashes.escript CHILDREN CRASHES_A_SECOND SECONDS
-module(crashes).
-mode(compile).
-behaviour(supervisor).
-export([main/1, init/1, start_child/1, child/2]).

main([Children, Rate, Seconds]) ->
    run(list_to_integer(Children), list_to_integer(Rate), list_to_integer(Seconds)).

run(Children, Rate, Seconds) ->
    logger:set_primary_config(level, none),
    %% Children write; the bench reads.
    children = ets:new(children, [named_table, public, set, {write_concurrency, true}]),
    latencies = ets:new(latencies, [named_table, public, set, {write_concurrency, true}]),
    Begun = now_us(),
    {ok, Supervisor} = supervisor:start_link(?MODULE, []),
    [{ok, _} = supervisor:start_child(Supervisor, [Number]) || Number <- lists:seq(0, Children - 1)],
    Up = now_us(),
    Crashes = crash(now_us(), 0, Rate, Seconds, Children),
    timer:sleep(1000),
    Alive = length([Pid || {_, Pid, _} <- ets:tab2list(children), is_process_alive(Pid)]),
    Restarted = lists:sort([Took || {_, Took} <- ets:tab2list(latencies)]),
    io:format("~b ~b ~b ~b ~b ~b ~b~n", [
        Up - Begun, share(Restarted, 50), share(Restarted, 99), share(Restarted, 100),
        Crashes, length(Restarted), Children - Alive
    ]).

init([]) ->
    Flags = #{strategy => simple_one_for_one, intensity => 10000, period => 1},
    {ok, {Flags, [#{id => child, start => {?MODULE, start_child, []}, restart => permanent}]}}.

start_child(Number) ->
    proc_lib:start_link(?MODULE, child, [Number, self()]).

child(Number, Parent) ->
    proc_lib:init_ack(Parent, {ok, self()}),
    case ets:lookup(children, Number) of
        [{_, _, Crashed}] when Crashed =/= 0 ->
            ets:insert(latencies, {erlang:unique_integer(), now_us() - Crashed});
        _ -> ok
    end,
    ets:insert(children, {Number, self(), 0}),
    receive crash ->
        ets:insert(children, {Number, self(), now_us()}),
        exit(crash)
    end.

%% Sends as many crashes as are due, until the time is over.
crash(Begun, Sent, Rate, Seconds, Children) ->
    Gone = now_us() - Begun,
    case Gone >= Seconds * 1000000 of
        true -> Sent;
        false ->
            Due = Gone * Rate div 1000000,
            Now = lists:foldl(fun(Nth, Count) -> Count + one(Nth * 7919 rem Children) end, Sent, lists:seq(Sent, Due - 1)),
            receive after 1 -> ok end,
            crash(Begun, Now, Rate, Seconds, Children)
    end.

one(Number) ->
    [{_, Pid, _}] = ets:lookup(children, Number),
    Pid ! crash,
    1.

now_us() -> erlang:monotonic_time(microsecond).

share([], _) -> 0;
share(Sorted, Percent) -> lists:nth(max(1, length(Sorted) * Percent div 100), Sorted).
