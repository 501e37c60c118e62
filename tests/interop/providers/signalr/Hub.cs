// A hub of SignalR: the library itself, on ASP.NET Core.
//
//   serve.sh serve PORT       see ../support.mjs for what it tells and reads

using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;
using System.Threading.Channels;
using System.Threading.Tasks;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.SignalR;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

public class News { public string text { get; set; } }

public class TestHub : Hub
{
    static readonly object gate = new object();
    public static readonly HashSet<ChannelWriter<News>> Readers = new HashSet<ChannelWriter<News>>();

    public static void Tell(string line) { lock (gate) Console.WriteLine(line); }

    public override Task OnConnectedAsync() { Tell("in hub"); return base.OnConnectedAsync(); }
    public override Task OnDisconnectedAsync(Exception error) { Tell("left " + (error == null)); return base.OnDisconnectedAsync(error); }

    public void Say(News news) => Tell("said " + news.text);
    public object Echo(object value) => value;
    public void Fail() => throw new HubException("it failed");

    public ChannelReader<int> Counter(int count)
    {
        var channel = Channel.CreateUnbounded<int>();
        for (int n = 1; n <= count; n++) channel.Writer.TryWrite(n);
        channel.Writer.Complete();
        return channel.Reader;
    }

    public ChannelReader<News> News(CancellationToken token)
    {
        var channel = Channel.CreateUnbounded<News>();
        lock (Readers) Readers.Add(channel.Writer);
        token.Register(() =>
        {
            lock (Readers) Readers.Remove(channel.Writer);
            channel.Writer.TryComplete();
            Tell("completed News");
        });
        Tell("subscribed News");
        return channel.Reader;
    }
}

public static class Program
{
    const string Token = "T&k/1";

    public static async Task Main(string[] arguments)
    {
        var host = Host.CreateDefaultBuilder()
            .ConfigureLogging(logging => logging.ClearProviders())
            .ConfigureWebHostDefaults(web => web
                .UseUrls("http://127.0.0.1:" + arguments[1])
                .ConfigureServices(services => services.AddSignalR(options =>
                    {
                    options.KeepAliveInterval = TimeSpan.FromMilliseconds(200);
                    options.ClientTimeoutInterval = TimeSpan.FromSeconds(2);
                }))
                .Configure(app =>
                {
                    app.Use(async (context, next) =>
                    {
                        var token = (string)context.Request.Query["access_token"]
                            ?? ((string)context.Request.Headers["Authorization"] ?? "").Replace("Bearer ", "");
                        if (token != Token) context.Response.StatusCode = 401;
                        else
                        {
                            if (context.Request.Path == "/hub/negotiate") TestHub.Tell("negotiated");
                            await next();
                        }
                    });
                    app.UseRouting();
                    app.UseEndpoints(endpoints => endpoints.MapHub<TestHub>("/hub"));
                }))
            .Build();
        await host.StartAsync();
        var server = host.Services.GetRequiredService<Microsoft.AspNetCore.Hosting.Server.IServer>();
        var address = server.Features.Get<IServerAddressesFeature>().Addresses.First();
        TestHub.Tell("listening " + new Uri(address).Port);

        var hub = host.Services.GetRequiredService<IHubContext<TestHub>>();
        string line;
        while ((line = Console.ReadLine()) != null)
        {
            var words = line.Split(' ', 2);
            switch (words[0])
            {
                case "push":
                    lock (TestHub.Readers)
                        foreach (var reader in TestHub.Readers) reader.TryWrite(new News { text = words[1] });
                    break;
                case "call":
                    await hub.Clients.All.SendAsync("News", new News { text = words[1] }, 1);
                    break;
            }
        }
        Environment.Exit(0);
    }
}
