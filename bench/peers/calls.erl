%% The Erlang peer of bench/lua/calls.lua and workers.lua: gen_server:call on one scheduler or all.
-module(calls).
-behaviour(gen_server).
-export([main/1, init/1, handle_call/3, handle_cast/2]).

init(State) -> {ok, State}.
handle_call({ping, Value}, _From, State) -> {reply, Value, State}.
handle_cast(_Message, State) -> {noreply, State}.

start() ->
    {ok, Pid} = gen_server:start(?MODULE, 0, []),
    Pid.

loop(_Pid, 0) -> ok;
loop(Pid, N) ->
    N = gen_server:call(Pid, {ping, N}, infinity),
    loop(Pid, N - 1).

rate(Name, Count, Fun) ->
    Start = erlang:monotonic_time(nanosecond),
    Fun(),
    Seconds = (erlang:monotonic_time(nanosecond) - Start) / 1.0e9,
    io:format("R ~s ~b~n", [Name, round(Count / Seconds)]).

%% Runs the function in so many processes and waits for all.
together(Processes, Fun) ->
    Parent = self(),
    Pids = [spawn_link(fun() -> Fun(), Parent ! {done, self()} end) || _ <- lists:seq(1, Processes)],
    [receive {done, Pid} -> ok end || Pid <- Pids],
    ok.

main(["one"]) ->
    Pid = start(),
    loop(Pid, 20000),
    rate("erlang_call_1", 500000, fun() -> loop(Pid, 500000) end),
    rate("erlang_call_1000", 500000, fun() -> together(1000, fun() -> loop(Pid, 500) end) end),
    halt(0);
main(["all"]) ->
    Pairs = erlang:system_info(schedulers_online),
    Fun = fun() -> loop(start(), 200000) end,
    rate("erlang_pairs", Pairs * 200000, fun() -> together(Pairs, Fun) end),
    halt(0).
