%% gen_server:call between two nodes on one machine, without epmd: the port is given.
-module(remote).
-behaviour(gen_server).
-export([serve/0, main/1, init/1, handle_call/3, handle_cast/2]).

init(State) -> {ok, State}.
handle_call({ping, Value}, _From, State) -> {reply, Value, State}.
handle_cast(_Message, State) -> {noreply, State}.

serve() ->
    {ok, _} = gen_server:start({local, echo}, ?MODULE, 0, []),
    io:format("ready~n").

loop(_To, 0) -> ok;
loop(To, N) ->
    N = gen_server:call(To, {ping, N}, infinity),
    loop(To, N - 1).

main([Node]) ->
    To = {echo, list_to_atom(Node)},
    loop(To, 2000),
    Start = erlang:monotonic_time(nanosecond),
    loop(To, 10000),
    One = erlang:monotonic_time(nanosecond),
    Parent = self(),
    Pids = [spawn_link(fun() -> loop(To, 200), Parent ! {done, self()} end)
            || _ <- lists:seq(1, 1000)],
    [receive {done, Pid} -> ok end || Pid <- Pids],
    Many = erlang:monotonic_time(nanosecond),
    io:format("R remote_erlang_us ~.3f~n", [(One - Start) / 10000 / 1000]),
    io:format("R remote_erlang_1000 ~b~n", [round(200000 / ((Many - One) / 1.0e9))]),
    halt(0).
